"""The HTTP application: routes, middleware, error handlers and lifespan, as lists."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from ixmodal.errors import IxmodalError
from ixmodal.runtime import Runtime
from ixmodal.server.auth import KeyMiddleware
from ixmodal.server.drain import Drain, DrainMiddleware
from ixmodal.server.errors import HTTPError, handle
from ixmodal.server.guard import GuardMiddleware, IdentityMiddleware
from ixmodal.server.keyring import KeyRing
from ixmodal.server.openapi.operation import Described
from ixmodal.server.rates import HEADERS, Limiter, RateMiddleware
from ixmodal.server.responders import Responders
from ixmodal.server.responses.conversations import ConversationService
from ixmodal.server.responses.service import ResponseService
from ixmodal.server.routes import (
    chat,
    completions,
    conversations,
    custom,
    discovery,
    embeddings,
    health,
    metering,
    models,
    openapi,
    pages,
    rerank,
    residency,
    responses,
    tokens,
)
from ixmodal.server.store import Store, choose_store
from ixmodal.server.telemetry.access_log import AccessLog
from ixmodal.server.telemetry.metrics import Metrics
from ixmodal.server.telemetry.middleware import AccountMiddleware, Teller
from ixmodal.server.telemetry.tracing import open_tracing
from ixmodal.server.turns import run_turn
from ixmodal.server.upstream.forward import SERVED_BY, with_upstreams
from ixmodal.spec import App

V1_ROUTES: list[Described] = [
    *chat.ROUTES,
    *completions.ROUTES,
    *embeddings.ROUTES,
    *rerank.ROUTES,
    *responses.ROUTES,
    *conversations.ROUTES,
    *models.ROUTES,
]
OTHER_ROUTES: list[Described] = [
    *tokens.ROUTES,
    *residency.ROUTES,
    *discovery.ROUTES,
    *health.ROUTES,
    *metering.ROUTES,
    *openapi.ROUTES,
]


def routes_of(spec: App) -> list[Described]:
    """All routes that a spec asks for. Raises `SpecError` where a declared one is built in."""
    v1_routes = [with_upstreams(route, spec) for route in V1_ROUTES]
    built_in = v1_routes + [with_upstreams(route, spec) for route in OTHER_ROUTES]
    if spec.endpoint.page:
        built_in += pages.ROUTES
    if spec.endpoint.unprefixed_routes:
        taken = {route.path for route in built_in}  # `/models` is there already, and says more
        short = [route.without_prefix("/v1") for route in v1_routes]
        built_in += [route for route in short if route.path not in taken]
    return [*custom.routes(spec.custom_endpoints, built_in), *built_in]


def create_app(runtime: Runtime, store: Store | None = None) -> Starlette:
    """The application over a runtime, which it starts and stops with its lifespan.

    Args:
        runtime: the models.
        store: keeps responses and conversations; None: what the spec declares.

    Raises:
        SpecError: the spec declares API keys that are not where it says, tools that can't be imported, routes that are
            built in, or a Redis without its client being installed; or the environment asks for unknown traces.
    """
    state = runtime.spec.state
    keys = KeyRing(runtime.spec)
    limiter = Limiter(keys, runtime.spec.state.redis_url, runtime.spec.name)
    store = store or choose_store(runtime.spec)
    responders = Responders(runtime, run_turn)
    service = ResponseService(
        runtime.spec.limits,
        store,
        responders,
        max_background=state.max_background,
        is_stopping=lambda: runtime.draining,
    )

    async def close() -> None:
        await runtime.stop()
        await service.stop()

    drain = Drain(runtime, lambda: service.running, close)
    access_log = AccessLog()
    metrics = Metrics(runtime, access_log.late)
    tracing = open_tracing()
    tellers: list[Teller] = [metrics.count, access_log, *([tracing] if tracing else [])]

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await runtime.start()
        await service.start()
        yield
        await drain.run()
        await limiter.close()
        if tracing:
            await asyncio.to_thread(tracing.close)

    routes = routes_of(runtime.spec)
    app = Starlette(
        routes=routes,
        middleware=_middleware(runtime.spec, keys, limiter, drain, tellers),
        exception_handlers={IxmodalError: handle, HTTPError: handle, HTTPException: handle, Exception: handle},
        lifespan=lifespan,
    )
    app.state.runtime = runtime
    app.state.description = openapi.Description(routes, guarded=not keys.is_open)
    app.state.keys = keys
    app.state.drain = drain
    app.state.metrics = metrics
    app.state.responders = responders
    app.state.responses = service
    app.state.conversations = ConversationService(store, runtime.spec.limits.max_messages)
    return app


def _middleware(
    spec: App, keys: KeyRing, limiter: Limiter, drain: Drain, tellers: Sequence[Teller]
) -> list[Middleware]:
    """What is around every request, from the outside in."""
    endpoint = spec.endpoint
    middleware = [Middleware(IdentityMiddleware), Middleware(AccountMiddleware, tellers=tellers)]
    if endpoint.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=endpoint.cors_origins,
                allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=["*"],
                expose_headers=["x-request-id", "retry-after", SERVED_BY, *HEADERS],
            )
        )
    middleware.append(Middleware(DrainMiddleware, drain=drain))
    public = frozenset({"/metrics"} if endpoint.public_metrics else ())
    is_page = pages.is_public if endpoint.page else None
    middleware.append(Middleware(KeyMiddleware, keys=keys, is_page=is_page, public=public))
    middleware.append(Middleware(RateMiddleware, limiter=limiter))
    middleware.append(Middleware(GuardMiddleware, limits=spec.limits, log_bytes=endpoint.log_prompts))
    return middleware
