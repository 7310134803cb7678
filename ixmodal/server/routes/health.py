"""Health: `/health` tells, `/healthz` says that the process lives, `/readyz` that it takes requests."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ixmodal.server.json import JSONResponse
from ixmodal.server.openapi.operation import Described, Operation, Text
from ixmodal.server.protocol.objects.models import Health
from ixmodal.server.routes.common import runtime_of


async def health(request: Request) -> Response:
    """What is served and how it stands; 503 unless every model is ready."""
    runtime = runtime_of(request)
    clients = [served.client for served in runtime.models.values() if served.client]
    states = {id: served.state for id, served in runtime.models.items()}
    unready = [state for state in states.values() if state != "ready"]
    content = {
        "status": "draining" if runtime.draining else unready[0] if unready else "ok",
        "model": next(iter(states)),
        "models": states,
        "requests": sum(client.requests for client in clients),
        "tokens": sum(client.tokens for client in clients),
        "uptime": round(time.monotonic() - runtime.started, 3),
        "running": sum(client.admission.busy for client in clients),
        "queued": sum(client.admission.queued for client in clients),
        "restarts": sum(client.supervisor.restarts for client in clients),
    }
    return JSONResponse(content, status_code=200 if runtime.is_ready else 503)


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
