"""`POST /v1/rerank`: the request."""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Sequence
from typing import Annotated

from pydantic import BeforeValidator, Field

from ixmodal.engine.request import TextPrompt
from ixmodal.server.errors import HTTPError
from ixmodal.server.protocol.body import Body
from ixmodal.server.protocol.embeddings import MAX_INPUTS

Text = Annotated[str, Field(min_length=1)]


class DocumentObject(Body):
    """A document in the form that has a key."""

    text: Text


def _as_object(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


Document = Annotated[DocumentObject, BeforeValidator(_as_object, json_schema_input_type=Text | DocumentObject)]


class RerankRequest(Body):
    """The body."""

    model: str | None = Field(None, max_length=256)
    query: Text
    documents: list[Document] = Field(min_length=1)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool | None = None

    def check(self) -> None:
        """Refuse more documents than embeddings has inputs. Raises `HTTPError`."""
        if len(self.documents) > MAX_INPUTS:
            text = f"'documents' has {len(self.documents)} entries, above the limit of {MAX_INPUTS}."
            raise HTTPError(400, text, param="documents", code="limit_exceeded")

    def prompts(self) -> list[TextPrompt]:
        """The query, then the documents."""
        return [TextPrompt(self.query), *(TextPrompt(document.text) for document in self.documents)]


def similarities(query: bytes, documents: Sequence[bytes]) -> list[float]:
    """Cosines of the angles between vectors of little-endian float32, -1 to 1; 0 where one has no direction."""
    wanted = _unit(query)
    return [max(-1.0, min(1.0, math.fsum(map(operator.mul, wanted, _unit(document))))) for document in documents]


def _unit(vector: bytes) -> list[float]:
    values = struct.unpack(f"<{len(vector) // 4}f", vector)
    length = math.sqrt(math.fsum(value * value for value in values)) or 1.0
    return [value / length for value in values]
