"""`/v1/responses`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ixmodal.server.errors import HTTPError
from ixmodal.server.json import JSONResponse
from ixmodal.server.openapi.operation import ENGINE, STORE, Described, Operation
from ixmodal.server.protocol.objects.events import ResponseStreamEvent
from ixmodal.server.protocol.objects.items import ItemList
from ixmodal.server.protocol.objects.responses import DeletedResponse, ResponseObject
from ixmodal.server.protocol.responses.listing import GetQuery, ListQuery, page, query_of
from ixmodal.server.protocol.responses.request import ResponsesRequest
from ixmodal.server.rates import current_meter
from ixmodal.server.responses.run import Run
from ixmodal.server.responses.service import ResponseService
from ixmodal.server.routes.common import parse, runtime_of
from ixmodal.server.sse import EventStream


class _OwnedStream(EventStream):
    """The stream of a foreground response, which ends with its client's connection."""

    def __init__(self, run: Run, write_timeout: float) -> None:
        super().__init__(run.follow(), write_timeout)
        self._run = run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._run.stop("cancelled")


def _service(request: Request) -> ResponseService:
    service: ResponseService = request.app.state.responses
    return service


async def create(request: Request) -> Response:
    """Answer, whole, as a stream of events, or in the background."""
    body = await parse(request, ResponsesRequest)
    run = await _service(request).create(body)
    if body.background and (meter := current_meter.get()):
        run.on_done(meter.lease.share())
    write_timeout = runtime_of(request).spec.limits.write_timeout
    if not body.stream:
        return JSONResponse(run.record.response)
    return EventStream(run.follow(), write_timeout) if body.background else _OwnedStream(run, write_timeout)


async def one(request: Request) -> Response:
    """A response as it stands, or its events; or delete it."""
    id = request.path_params["id"]
    if request.method == "DELETE":
        await _service(request).delete(id)
        return JSONResponse({"id": id, "object": "response", "deleted": True})
    query = query_of(request, GetQuery)
    if query.stream:
        after = -1 if query.starting_after is None else query.starting_after
        events = await _service(request).events(id, after)
        return EventStream(events, runtime_of(request).spec.limits.write_timeout)
    if query.starting_after is not None:
        text = "'starting_after' is only allowed when 'stream' is true."
        raise HTTPError(400, text, param="starting_after", code="invalid_value")
    return JSONResponse(await _service(request).get(id))


async def cancel(request: Request) -> Response:
    """Cancel a background response."""
    return JSONResponse(await _service(request).cancel(request.path_params["id"]))


async def input_items(request: Request) -> Response:
    """The items that a response answered, in pages."""
    query = query_of(request, ListQuery)
    return JSONResponse(page(await _service(request).input_items(request.path_params["id"]), query))


_ITS_ID = {"id": "$response.body#/id"}
_FOLLOWING = dict.fromkeys(("getResponse", "deleteResponse", "cancelResponse", "listInputItems"), _ITS_ID)
ROUTES = [
    Described(
        "/v1/responses",
        create,
        Operation(
            "createResponse",
            "POST",
            "Answer, whole, as a stream of events, or in the background.",
            ResponseObject,
            body=ResponsesRequest,
            events=ResponseStreamEvent,
            errors=ENGINE,
            links=_FOLLOWING,
        ),
    ),
    Described(
        "/v1/responses/{id}",
        one,
        Operation(
            "getResponse",
            "GET",
            "A response as it stands, or its events.",
            ResponseObject,
            query=GetQuery,
            events=ResponseStreamEvent,
            errors=(404, *STORE),
        ),
        Operation("deleteResponse", "DELETE", "Delete a response.", DeletedResponse, errors=(404, *STORE)),
    ),
    Described(
        "/v1/responses/{id}/cancel",
        cancel,
        Operation(
            "cancelResponse", "POST", "Cancel a background response.", ResponseObject, errors=(400, 404, 409, *STORE)
        ),
    ),
    Described(
        "/v1/responses/{id}/input_items",
        input_items,
        Operation(
            "listInputItems",
            "GET",
            "The items that a response answered, in pages.",
            ItemList,
            query=ListQuery,
            errors=(404, *STORE),
        ),
    ),
]
