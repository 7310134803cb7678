"""Answers of `GET /v1/models` and of the health routes."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict


class Capabilities(TypedDict):
    """What a loaded model can do."""

    chat: bool
    embeddings: bool
    suffix: bool


class ModelObject(TypedDict):
    """A model of the spec, or an agent: the latter has `agent_of` and none of what follows it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    agent_of: NotRequired[str]
    context_length: NotRequired[int]
    capabilities: NotRequired[Capabilities]
    aliases: NotRequired[list[str]]
    status: NotRequired[str]
    is_upstream: NotRequired[bool]
    overflow_to: NotRequired[str]


class ModelList(TypedDict):
    """All models and agents."""

    object: Literal["list"]
    data: list[ModelObject]


class Health(TypedDict):
    """How the server stands: `ok`, `overflowing` or a state of a model; counts since the start; uptime in seconds."""

    status: str
    model: str
    models: dict[str, str]
    requests: int
    tokens: int
    uptime: float
    running: int
    queued: int
    restarts: int
