"""`GET /openapi.json`: what this server understands and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ixmodal.server.json import dumps
from ixmodal.server.openapi.operation import Described, Operation, RawSchema


class Description:
    """The document, made at the first request for it and then kept: making it takes longer than a start may."""

    def __init__(self, routes: Sequence[BaseRoute], *, guarded: bool) -> None:
        self._routes = routes
        self._guarded = guarded
        self._content: bytes | None = None

    async def get(self) -> bytes:
        """The document as JSON."""
        if self._content is None:
            self._content = await asyncio.to_thread(self._make)
        return self._content

    def _make(self) -> bytes:
        from ixmodal.server.openapi.document import document

        return dumps(document(self._routes, guarded=self._guarded))


async def openapi(request: Request) -> Response:
    """The OpenAPI document of all routes."""
    description: Description = request.app.state.description
    return Response(await description.get(), media_type="application/json")


ROUTES = [
    Described(
        "/openapi.json",
        openapi,
        Operation(
            "getOpenapi",
            "GET",
            "This document.",
            RawSchema(
                {
                    "type": "object",
                    "required": ["openapi", "info", "paths", "components"],
                    "properties": {"openapi": {"const": "3.1.0"}},
                }
            ),
        ),
    )
]
