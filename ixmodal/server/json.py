"""JSON on the wire, by orjson."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response

dumps = orjson.dumps


class JSONResponse(Response):
    """A response whose content is encoded by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The encoded content."""
        return dumps(content)
