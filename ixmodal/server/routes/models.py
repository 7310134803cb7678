"""`GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ixmodal.runtime import ServedModel
from ixmodal.server.json import JSONResponse
from ixmodal.server.routes.common import runtime_of


async def list_models(request: Request) -> Response:
    """All models of the spec, in its order."""
    models = [_describe(served) for served in runtime_of(request).models.values()]
    return JSONResponse({"object": "list", "data": models})


async def get_model(request: Request) -> Response:
    """One model. 404 if the spec has none of that id."""
    return JSONResponse(_describe(runtime_of(request).find(request.path_params["model"])))


def _describe(served: ServedModel) -> dict[str, Any]:
    shown = {"id": served.model.id, "object": "model", "created": served.created, "owned_by": "ixmodal"}
    loaded = served.client.model if served.client else None
    if loaded:
        abilities = {"chat": loaded.chat_template is not None, "embeddings": True, "suffix": loaded.can_infill}
        shown |= {"context_length": loaded.context_length, "capabilities": abilities}
    return shown | {"aliases": list(served.model.aliases), "status": served.state}
