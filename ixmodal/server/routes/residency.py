"""`/models`: what is in memory, and putting it there or taking it out, for admins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Literal

import psutil
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from ixmodal.errors import InvalidRequestError
from ixmodal.runtime import Runtime, ServedModel
from ixmodal.runtime.memory import MIB
from ixmodal.server.auth import is_admin, require_admin
from ixmodal.server.errors import HTTPError
from ixmodal.server.json import JSONResponse
from ixmodal.server.openapi.operation import Described, Operation
from ixmodal.server.protocol.body import Body
from ixmodal.server.protocol.objects.models import ModelList, News
from ixmodal.server.protocol.responses.listing import query_of
from ixmodal.server.routes.common import model_of, parse, runtime_of
from ixmodal.server.routes.models import describe, list_models
from ixmodal.server.sse import EventStream, event

_LOOK_EVERY = 1.0


class LoadRequest(Body):
    """Which model to load, and whether to wait until it is ready."""

    model: str = Field(max_length=128)
    wait: bool = True


class UnloadRequest(Body):
    """Which model to unload. With `drain`, running requests are waited for; else they refuse it."""

    model: str = Field(max_length=128)
    drain: bool = False


class FollowQuery(Body):
    """How long to follow, seconds; unset: `limits.request_timeout`, which is the most."""

    model_config = ConfigDict(strict=False)
    seconds: float | None = Field(None, ge=0, allow_inf_nan=False)


class Residency(TypedDict):
    """What became of a load or an unload."""

    model: str
    status: Literal["loaded", "loading", "unloaded"]


class EndpointOfModel(TypedDict):
    """Where a model answers: the base URL for OpenAI clients."""

    model: str
    url: str


async def list_all(request: Request) -> Response:
    """The models as `/v1/models` lists them; for admins with their run time: state, memory, slots, process."""
    if not is_admin(request):
        return await list_models(request)
    models = runtime_of(request).models.values()
    return JSONResponse({"object": "list", "data": [await asyncio.to_thread(_run_time, served) for served in models]})


async def load(request: Request) -> Response:
    """Load a model, after making room for it if need be."""
    require_admin(request)
    body = await parse(request, LoadRequest)
    served = _local(request, body.model)
    loading = served.begin_load()
    if not body.wait:
        return JSONResponse({"model": served.model.id, "status": "loading"}, status_code=202)
    await asyncio.shield(loading)
    return JSONResponse({"model": served.model.id, "status": "loaded"})


async def unload(request: Request) -> Response:
    """Take a model out of memory."""
    require_admin(request)
    body = await parse(request, UnloadRequest)
    served = _local(request, body.model)
    deadline = asyncio.get_running_loop().time() + runtime_of(request).spec.limits.drain_timeout
    while served.in_flight:
        if not body.drain or asyncio.get_running_loop().time() > deadline:
            text = f"{served.in_flight} requests run or wait for {served.model.id}; retry later, or send drain = true."
            raise HTTPError(409, text, code="model_in_use", param="model")
        await asyncio.sleep(0.05)
    await served.unload()
    return JSONResponse({"model": served.model.id, "status": "unloaded"})


async def endpoint(request: Request) -> Response:
    """Where a loaded model answers. 404 while it is not loaded."""
    served = model_of(request, request.path_params["model"])
    if served.state != "ready":
        text = f"The model {served.model.id} is {served.state}, not loaded; POST /models/load loads it."
        raise HTTPError(404, text, code="model_not_loaded", param="model")
    return JSONResponse({"model": served.model.id, "url": f"{request.base_url}v1"})


async def events(request: Request) -> Response:
    """How each model stands, then every change, until the client leaves or `seconds` have passed."""
    require_admin(request)
    runtime = runtime_of(request)
    query = query_of(request, FollowQuery)
    longest = runtime.spec.limits.request_timeout
    seconds = longest if query.seconds is None else min(query.seconds, longest)
    return EventStream(_news(runtime, seconds), runtime.spec.limits.write_timeout)


async def _news(runtime: Runtime, seconds: float) -> AsyncGenerator[bytes, None]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    with runtime.desk.listen() as listener:
        for served in runtime.models.values():
            yield event(served.news().as_json())
        while loop.time() < deadline and not runtime.draining:
            for news in await listener.wait(min(_LOOK_EVERY, seconds)):
                yield event(news.as_json())


def _local(request: Request, name: str) -> ServedModel:
    served = model_of(request, name)
    if served.upstream:
        raise InvalidRequestError(f"{served.model.id} is on another server, which loads it.", param="model")
    return served


def _run_time(served: ServedModel) -> dict[str, Any]:
    client, news = served.client, served.news().as_json()
    pid = client.pid if client else None
    need = served.need if served.is_resident else None
    asked = served.upstream or client
    assert asked
    return describe(served) | {
        "run_time": {
            "state": news["state"],
            "reason": news["reason"],
            "progress": news["progress"],
            "load": served.model.load,
            "pinned": served.model.pinned,
            "slots": served.model.slots,
            "busy": asked.admission.busy,
            "queued": asked.admission.queued,
            "restarts": client.restarts if client else 0,
            "engine_pid": pid,
            "loaded_at": int(served.loaded_at) if served.loaded_at else None,
            "idle_seconds": round(served.idle_seconds, 3) if served.is_resident else None,
            "memory": {
                "required_mib": -(-need.host // MIB) if need else None,
                "required_vram_mib": -(-need.gpu // MIB) if need else None,
                "resident_mib": _resident(pid) if pid else None,
            },
        }
    }


def _resident(pid: int) -> int | None:
    try:
        return int(psutil.Process(pid).memory_info().rss) // MIB
    except psutil.Error:  # it ended just now
        return None


ROUTES = [
    Described(
        "/models",
        list_all,
        Operation("listRunTime", "GET", "All models; for admins with memory, slots and process.", ModelList),
    ),
    Described(
        "/models/load",
        load,
        Operation(
            "loadModel",
            "POST",
            "Load a model; idle ones make room.",
            Residency,
            body=LoadRequest,
            errors=(403, 404, 503),
            others={202: Residency},
        ),
    ),
    Described(
        "/models/unload",
        unload,
        Operation("unloadModel", "POST", "Unload a model.", Residency, body=UnloadRequest, errors=(403, 404, 409)),
    ),
    Described(
        "/models/events",
        events,
        Operation(
            "followModels",
            "GET",
            "Changes of models' states, as events.",
            None,
            query=FollowQuery,
            events=News,
            errors=(403,),
        ),
    ),
    Described(
        "/models/{model:path}/endpoint",
        endpoint,
        Operation("getModelEndpoint", "GET", "Where a loaded model answers.", EndpointOfModel, errors=(404,)),
    ),
]
