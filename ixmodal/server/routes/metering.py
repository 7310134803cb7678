"""`GET /metrics`: what Prometheus scrapes. `GET /slots`: what runs now, for admins."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ixmodal.engine.generation import Generation
from ixmodal.runtime import ServedModel
from ixmodal.server.auth import require_admin
from ixmodal.server.json import JSONResponse
from ixmodal.server.openapi.operation import Described, Operation, Text
from ixmodal.server.protocol.objects.slots import SlotList
from ixmodal.server.routes.common import runtime_of
from ixmodal.server.telemetry.metrics import Metrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def metrics(request: Request) -> Response:
    """All metrics, in Prometheus' text format."""
    counted: Metrics = request.app.state.metrics
    # Imported here: prometheus_client is needed by who looks, not by who starts.
    from ixmodal.server.telemetry.exposition import Exposition

    return Response(Exposition(counted).text(), headers={"content-type": CONTENT_TYPE})


async def slots(request: Request) -> Response:
    """Each slot of each model here: whose request it has, and how far that is."""
    require_admin(request)
    models = runtime_of(request).models.values()
    return JSONResponse({"object": "list", "data": [slot for served in models for slot in _slots(served)]})


def _slots(served: ServedModel) -> list[dict[str, Any]]:
    if served.client is None:
        return []
    return [_slot(served.model.id, index, found) for index, found in enumerate(served.client.places)]


def _slot(model: str, index: int, found: Generation | None) -> dict[str, Any]:
    shown = {"model": model, "id": index, "is_processing": found is not None}
    if found is None:
        return shown | {"request_id": None, "prompt_tokens": 0, "cached_tokens": 0, "tokens": 0, "seconds": 0.0}
    return shown | {
        "request_id": found.owner or None,
        "prompt_tokens": found.prompt_tokens,
        "cached_tokens": found.cached_tokens,
        "tokens": found.completion_tokens,
        "seconds": round(time.monotonic() - found.began, 3),
    }


ROUTES = [
    Described(
        "/metrics",
        metrics,
        Operation("getMetrics", "GET", "Metrics in Prometheus' text format.", Text()),
    ),
    Described(
        "/slots",
        slots,
        Operation("listSlots", "GET", "What each slot does, for admins.", SlotList, errors=(403,)),
    ),
]
