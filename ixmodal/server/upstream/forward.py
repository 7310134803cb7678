"""Requests for models with an upstream are passed on as they are; for those that overflow, once they are refused here.

The body goes on byte for byte but for `model`, the answer comes back byte for byte. Keys, limits of the body and the
end of a request whose client hangs up are those of this server: this is behind its middleware.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ixmodal.errors import BusyError, EngineNotReadyError, RequestError, UpstreamError
from ixmodal.runtime import Runtime, ServedModel
from ixmodal.server.callers import find_model
from ixmodal.server.errors import HTTPError
from ixmodal.server.openapi.operation import Described
from ixmodal.server.passage import MAX_HOPS, passage
from ixmodal.server.routes.common import runtime_of
from ixmodal.server.sse import EventStream
from ixmodal.server.telemetry.account import note_served_by
from ixmodal.server.upstream.refusals import envelope_of, refusal, refused_twice, unknown_refusal
from ixmodal.server.upstream.relay import events
from ixmodal.server.upstream.usage import charge, metered_events, usage_in
from ixmodal.spec import App
from ixmodal.upstreams.question import Question

if TYPE_CHECKING:
    from ixmodal.upstreams.answer import Answer
    from ixmodal.upstreams.client import UpstreamClient

SERVED_BY = "x-ixmodal-served-by"
_OVERFLOWING = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})
_LOOKING = frozenset({"/tokenize", "/detokenize", "/apply-template", "/tokenizer_info"})
_ASKING = "/v1/responses"
"""Makes its answers of an upstream's, see `turns`."""
Endpoint = Callable[[Request], Awaitable[Response]]


class _Named(msgspec.Struct):
    """What has to be known of a body to pass it on."""

    model: str | None = None
    stream: bool | None = None


@dataclass(frozen=True)
class _Asked:
    """A request and what it asks for."""

    request: Request
    path: str
    named: _Named
    raw: bytes

    @property
    def has_body(self) -> bool:
        """False for a GET, and for a HEAD, which is answered as one."""
        return self.request.method == "POST"

    def body_for(self, model: str) -> bytes | None:
        """The body with another model: all other values keep their bytes. None for a GET."""
        if not self.has_body:
            return None
        fields: dict[str, msgspec.Raw] = msgspec.json.decode(self.raw, type=dict[str, msgspec.Raw])
        return msgspec.json.encode({**fields, "model": model})

    def path_for(self, model: str) -> str:
        """The path; a GET names its model in the query."""
        return self.path if self.has_body else f"{self.path}?{urlencode({'model': model})}"


def with_upstreams(route: Described, spec: App) -> Described:
    """The route, passing on what is for an upstream; the same route where that can't be."""
    passes_on = route.path in _OVERFLOWING | _LOOKING
    if not (passes_on or route.path == _ASKING) or len(spec.local_models) == len(spec.models):
        return route
    by = (
        {SERVED_BY: "The model that answered: the one asked for, or the one that it overflowed to."}
        if passes_on
        else {}
    )
    operations = [
        replace(operation, errors=(*operation.errors, 502, 508), headers={**operation.headers, **by})
        for operation in route.operations
    ]
    endpoint = _forwarding(route.path, route.endpoint) if passes_on else route.endpoint
    return Described(route.path, endpoint, *operations)


def _forwarding(path: str, endpoint: Endpoint) -> Endpoint:
    @wraps(endpoint)
    async def forward(request: Request) -> Response:
        asked = await _read(request, path)
        served = _served(asked) if asked else None
        if asked is None or served is None:
            return await endpoint(request)  # which says what is wrong with it, or asks an agent
        if served.upstream is not None:
            return await _pass_on(asked, served.upstream)
        if path not in _OVERFLOWING or served.model.overflow_to is None or passage().hops:
            return _signed(await endpoint(request), served.model.id)
        return await _here_first(asked, endpoint, served)

    return forward


async def _here_first(asked: _Asked, endpoint: Endpoint, served: ServedModel) -> Response:
    """Ask the model here; what it refuses for want of room is passed on. A refusal comes before the first byte."""
    try:
        return _signed(await endpoint(asked.request), served.model.id)
    except (BusyError, EngineNotReadyError) as error:
        other = runtime_of(asked.request).find(served.model.overflow_to)
        assert other.upstream is not None
        try:
            return await _pass_on(asked, other.upstream)
        except (UpstreamError, BusyError) as second:
            raise refused_twice(error, second) from None


async def _read(request: Request, path: str) -> _Asked | None:
    """The request, if its body can be passed on at all."""
    if request.method != "POST":
        return _Asked(request, path, _Named(request.query_params.get("model")), b"")
    raw = await request.body()
    try:
        return _Asked(request, path, msgspec.json.decode(raw, type=_Named), raw)
    except (msgspec.DecodeError, RecursionError):
        return None


def _served(asked: _Asked) -> ServedModel | None:
    runtime: Runtime = runtime_of(asked.request)
    name = asked.named.model
    if asked.path in _LOOKING:  # without a model they mean the default, or the first
        name = name or runtime.spec.default_model or runtime.spec.models[0].id
    try:
        return find_model(runtime, name)
    except RequestError:
        return None


async def _pass_on(asked: _Asked, upstream: UpstreamClient) -> Response:
    """The upstream's answer. Raises `UpstreamError`, `BusyError`, and `HTTPError` 508 for a request in a circle."""
    note_served_by(upstream.name)
    way = passage()
    if way.hops >= MAX_HOPS:
        text = f"{way.hops} servers passed this request on already: the upstreams lead in a circle. Mend their specs."
        raise HTTPError(508, text, type="server_error", code="upstream_loop", headers={"x-should-retry": "false"})
    body = asked.body_for(upstream.their_model)
    question = Question(asked.path_for(upstream.their_model), body, way.request_id, way.hops + 1)
    if not asked.named.stream:
        return _signed(await _whole(await upstream.ask(question), upstream), upstream.name)
    asking = asyncio.ensure_future(upstream.ask(question))
    try:
        await asyncio.wait([asking], timeout=upstream.limits.head_timeout)
    except asyncio.CancelledError:
        await _drop(asking)
        raise
    if asking.done():
        return _signed(await _whole(asking.result(), upstream), upstream.name)
    return _signed(EventStream(_late(asking, upstream), upstream.limits.write_timeout), upstream.name)


async def _whole(answer: Answer, upstream: UpstreamClient) -> Response:
    """The answer as a response: one with events streams them."""
    if answer.is_stream:
        response: Response = EventStream(metered_events(events(answer), upstream), upstream.limits.write_timeout)
        response.headers.update(answer.headers)
        return response
    body = await answer.read(upstream.limits.max_answer_bytes)
    if answer.status >= 400 and "content-encoding" not in answer.headers and envelope_of(body) is None:
        return unknown_refusal(answer, body).response()
    if usage := usage_in(body):
        charge(upstream, body, usage)
    return Response(body, answer.status, answer.headers)


async def _late(asking: asyncio.Future[Answer], upstream: UpstreamClient) -> AsyncGenerator[bytes, None]:
    """The events of an answer whose head took so long that this server's own is sent."""
    try:
        answer = await asyncio.shield(asking)
    except asyncio.CancelledError:
        await _drop(asking)
        raise
    if not answer.is_stream:
        raise refusal(answer, await answer.read(upstream.limits.max_answer_bytes))
    async with aclosing(metered_events(events(answer), upstream)) as blocks:
        async for block in blocks:
            yield block


async def _drop(asking: asyncio.Future[Answer]) -> None:
    """Nobody wants the answer any more: end the request, and the answer if it has just come."""
    asking.cancel()
    await asyncio.wait([asking])
    if not asking.cancelled() and asking.exception() is None:
        await asking.result().aclose()


def _signed(response: Response, by: str) -> Response:
    response.headers[SERVED_BY] = by
    return response
