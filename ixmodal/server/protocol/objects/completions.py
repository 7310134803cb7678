"""Answers of `POST /v1/completions`, whole and in chunks."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from ixmodal.server.protocol.objects.chat import StreamError
from ixmodal.server.protocol.objects.usage import CompletionUsage


class TextLogprobs(TypedDict):
    """Four lists in step; a prompt's first token has no log-probability."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class TextChoice(TypedDict):
    """A continuation, or a piece of one."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class TextCompletion(TypedDict):
    """Continuations, whole or a chunk of them."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: NotRequired[CompletionUsage | None]


TextEvent = TextCompletion | StreamError
