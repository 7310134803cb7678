"""The answer of `POST /v1/embeddings`."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict


class Embedding(TypedDict):
    """The vector of one input: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(TypedDict):
    """Tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(TypedDict):
    """The vectors, in the inputs' order."""

    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage
