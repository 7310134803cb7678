"""Answers of `GET /v1/models` and of the health routes."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict


class Capabilities(TypedDict):
    """What a loaded model can do."""

    chat: bool
    embeddings: bool
    suffix: bool


class DownloadProgress(TypedDict):
    """Bytes that are there; bytes and percent are null while the size is unknown."""

    bytes: int
    total_bytes: int | None
    percent: int | None


class ModelMemory(TypedDict):
    """MiB: what it was judged to need, and what its process holds now; null while it is not loaded."""

    required_mib: int | None
    required_vram_mib: int | None
    resident_mib: int | None


class ModelRunTime(TypedDict):
    """What an admin sees of a model at run time."""

    state: str
    reason: str | None
    progress: DownloadProgress | None
    load: str
    pinned: bool
    slots: int
    busy: int
    queued: int
    restarts: int
    engine_pid: int | None
    loaded_at: int | None
    idle_seconds: float | None
    memory: ModelMemory


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
    run_time: NotRequired[ModelRunTime]


class ModelList(TypedDict):
    """All models and agents."""

    object: Literal["list"]
    data: list[ModelObject]


class News(TypedDict):
    """A model's state, why it failed, and how far its download is."""

    model: str
    state: str
    reason: str | None
    progress: DownloadProgress | None


class Activation(TypedDict):
    """The loading at start: how many models are expected, how many are ready, and how the others stand."""

    expected: int
    ready: int
    pending: list[News]


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
    activation: Activation
