"""`POST /v1/embeddings`: the request, and how vectors are told."""

from __future__ import annotations

import base64
import math
import struct
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ixmodal.engine.request import TextPrompt, TokenPrompt
from ixmodal.server.errors import HTTPError
from ixmodal.server.protocol.body import Body
from ixmodal.server.protocol.completions import TokenIds, prompt_list

MAX_INPUTS = 2048


def _inputs(value: Any) -> Any:
    found = prompt_list(value)
    if any(not item for item in found):
        raise ValueError("an input is empty")
    return found


_Text = Annotated[str, Field(min_length=1)]
_Texts = Annotated[list[_Text], Field(min_length=1, max_length=MAX_INPUTS)]
_Lists = Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_INPUTS)]
Inputs = _Text | _Texts | TokenIds | _Lists


class EmbeddingRequest(Body):
    """The body."""

    model: str | None = Field(None, max_length=256)
    input: Annotated[Any, BeforeValidator(_inputs, json_schema_input_type=Inputs)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1)
    user: str | None = None

    def check(self) -> None:
        """Refuse more inputs than the API knows. Raises `HTTPError`."""
        if len(self.input) > MAX_INPUTS:
            raise HTTPError(
                400, f"'input' has {len(self.input)} entries, above the limit of {MAX_INPUTS}.", param="input"
            )

    def prompts(self) -> list[TextPrompt | TokenPrompt]:
        """The inputs for the engine, in order."""
        return [TextPrompt(item) if isinstance(item, str) else TokenPrompt(item) for item in self.input]

    def show(self, vector: bytes) -> list[float] | str:
        """A float32 vector, cut to `dimensions`, normalised, in the form asked for. Raises `HTTPError` if too short."""
        values = struct.unpack(f"<{len(vector) // 4}f", vector)
        if self.dimensions and self.dimensions > len(values):
            message = f"'dimensions' is {self.dimensions}, but this model's vectors have {len(values)}."
            raise HTTPError(400, message, param="dimensions", code="invalid_value")
        kept = values[: self.dimensions]
        length = math.sqrt(math.fsum(value * value for value in kept)) or 1.0
        normal = [value / length for value in kept]
        if self.encoding_format == "base64":
            return base64.b64encode(struct.pack(f"<{len(normal)}f", *normal)).decode("ascii")
        return normal
