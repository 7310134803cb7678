"""Answer of `GET /slots`."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict


class SlotObject(TypedDict):
    """A place in which a model answers one request.

    Tokens of the prompt, those of them that were found in the cache, those generated so far; `seconds` since it came to
    the model. Which of the engine's native contexts serves a place changes from request to request.
    """

    model: str
    id: int
    is_processing: bool
    request_id: str | None
    prompt_tokens: int
    cached_tokens: int
    tokens: int
    seconds: float


class SlotList(TypedDict):
    """All places of all models that are served here."""

    object: Literal["list"]
    data: list[SlotObject]
