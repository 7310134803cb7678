"""Health: `/health` tells, `/healthz` says that the process lives, `/readyz` that it takes requests."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ixmodal.runtime import Runtime
from ixmodal.server.json import JSONResponse
from ixmodal.server.openapi.operation import Described, Operation, Text
from ixmodal.server.protocol.objects.models import Health
from ixmodal.server.routes.common import runtime_of


async def health(request: Request) -> Response:
    """What is served and how it stands; 503 unless every model is answered for. Upstreams are not asked for this."""
    runtime = runtime_of(request)
    clients = [served.client for served in runtime.models.values() if served.client]
    asked = [found for served in runtime.models.values() if (found := served.upstream or served.client)]
    states = {id: served.state for id, served in runtime.models.items()}
    content = {
        "status": _status(runtime),
        "model": next(iter(states)),
        "models": states,
        "requests": sum(client.requests for client in asked),
        "tokens": sum(client.tokens for client in clients),
        "uptime": round(time.monotonic() - runtime.started, 3),
        "running": sum(client.admission.busy for client in asked),
        "queued": sum(client.admission.queued for client in asked),
        "restarts": sum(client.restarts for client in clients),
        "activation": _activation(runtime),
    }
    return JSONResponse(content, status_code=200 if runtime.is_ready else 503)


def _activation(runtime: Runtime) -> dict[str, Any]:
    """How far the loading at start is: models that are ready, those expected, and what the others do."""
    expected = [served for served in runtime.models.values() if served.is_expected]
    left = [served.news().as_json() for served in expected if served.state != "ready"]
    return {"expected": len(expected), "ready": len(expected) - len(left), "pending": left}


def _status(runtime: Runtime) -> str:
    """`ok`; `overflowing` where upstreams stand in for what is not ready; or the state of what nobody answers for."""
    if runtime.draining:
        return "draining"
    served = [model for model in runtime.models.values() if model.is_expected and model.state != "ready"]
    left = [model.state for model in served if not model.is_served]
    return left[0] if left else "overflowing" if served else "ok"


async def healthz(_request: Request) -> Response:
    """The process answers."""
    return PlainTextResponse("ok")


async def readyz(request: Request) -> Response:
    """Requests are taken now."""
    ready = runtime_of(request).is_ready
    return PlainTextResponse("ready" if ready else "not ready", status_code=200 if ready else 503)


ROUTES = [
    Described(
        "/health",
        health,
        Operation("getHealth", "GET", "How the server stands.", Health, others={503: Health}, public=True),
    ),
    Described("/healthz", healthz, Operation("getLiveness", "GET", "The process lives.", Text(("ok",)), public=True)),
    Described(
        "/readyz",
        readyz,
        Operation(
            "getReadiness",
            "GET",
            "Requests are taken now.",
            Text(("ready",)),
            others={503: Text(("not ready",))},
            public=True,
        ),
    ),
]
