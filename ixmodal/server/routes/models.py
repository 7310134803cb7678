"""`GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ixmodal.runtime import ServedModel
from ixmodal.server.auth import caller_of
from ixmodal.server.callers import not_permitted
from ixmodal.server.json import JSONResponse
from ixmodal.server.openapi.operation import Described, Operation
from ixmodal.server.protocol.objects.models import ModelList, ModelObject
from ixmodal.server.routes.common import model_of, responders_of, runtime_of


async def list_models(request: Request) -> Response:
    """All models of the spec, in its order, then its agents: those that the caller may use."""
    caller = caller_of(request)
    models = [describe(served) for id, served in runtime_of(request).models.items() if caller.may_use(id)]
    agents = [_describe_agent(request, id) for id in responders_of(request).agents if caller.may_use(id)]
    return JSONResponse({"object": "list", "data": models + agents})


async def get_model(request: Request) -> Response:
    """One model. 404 if the spec has none of that id that the caller may use."""
    name = request.path_params["model"]
    if name in responders_of(request).agents:
        if not caller_of(request).may_use(name):
            raise not_permitted(name)
        return JSONResponse(_describe_agent(request, name))
    return JSONResponse(describe(model_of(request, name)))


def _describe_agent(request: Request, id: str) -> dict[str, Any]:
    responders = responders_of(request)
    shown = {"id": id, "object": "model", "created": responders.created, "owned_by": "ixmodal"}
    return shown | {"agent_of": responders.agents[id].spec.model}


def describe(served: ServedModel) -> dict[str, Any]:
    """A model as `/v1/models` shows it."""
    shown = {"id": served.model.id, "object": "model", "created": served.created, "owned_by": "ixmodal"}
    loaded = served.client.model if served.client else None
    if loaded:
        abilities = {"chat": loaded.chat_template is not None, "embeddings": True, "suffix": loaded.can_infill}
        shown |= {"context_length": loaded.context_length, "capabilities": abilities}
    if served.model.overflow_to:
        shown["overflow_to"] = served.model.overflow_to
    return shown | {"aliases": list(served.model.aliases), "status": served.state, "is_upstream": bool(served.upstream)}


ROUTES = [
    Described(
        "/v1/models",
        list_models,
        Operation(
            "listModels",
            "GET",
            "All models and agents of the spec.",
            ModelList,
            links={"getModel": {"model": "$response.body#/data/0/id"}},
        ),
    ),
    Described(
        "/v1/models/{model:path}",
        get_model,
        Operation("getModel", "GET", "One model; its id may hold slashes.", ModelObject, errors=(404,)),
    ),
]
