"""The answer of `POST /v1/rerank`."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict

from ixmodal.server.protocol.objects.embeddings import EmbeddingUsage


class RankedDocument(TypedDict):
    """A document as it was sent."""

    text: str


class RerankResult(TypedDict):
    """A document's place in the request, and its cosine similarity to the query."""

    index: int
    relevance_score: float
    document: NotRequired[RankedDocument]


class Ranking(TypedDict):
    """The most similar documents first."""

    id: str
    model: str
    results: list[RerankResult]
    usage: EmbeddingUsage
