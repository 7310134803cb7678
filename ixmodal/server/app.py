"""The HTTP application: routes, middleware, error handlers and lifespan, as lists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from ixmodal.errors import IxmodalError
from ixmodal.runtime import Runtime
from ixmodal.server.auth import KeyMiddleware, resolve_keys
from ixmodal.server.errors import HTTPError, handle
from ixmodal.server.guard import GuardMiddleware, IdentityMiddleware
from ixmodal.server.responders import Responders
from ixmodal.server.responses.conversations import ConversationService
from ixmodal.server.responses.service import ResponseService
from ixmodal.server.routes import conversations, custom, responses
from ixmodal.server.routes.chat import chat_completions
from ixmodal.server.routes.completions import completions
from ixmodal.server.routes.embeddings import embeddings
from ixmodal.server.routes.health import health, healthz, readyz
from ixmodal.server.routes.models import get_model, list_models
from ixmodal.server.routes.tokens import apply_template, detokenize, tokenize, tokenizer_info
from ixmodal.server.store import choose_store
from ixmodal.server.turns import run_turn
from ixmodal.spec import App

V1_ROUTES = [
    Route("/v1/chat/completions", chat_completions, methods=["POST"]),
    Route("/v1/completions", completions, methods=["POST"]),
    Route("/v1/embeddings", embeddings, methods=["POST"]),
    *responses.ROUTES,
    *conversations.ROUTES,
    Route("/v1/models", list_models),
    Route("/v1/models/{model:path}", get_model),
]
OTHER_ROUTES = [
    Route("/tokenize", tokenize, methods=["POST"]),
    Route("/detokenize", detokenize, methods=["POST"]),
    Route("/apply-template", apply_template, methods=["POST"]),
    Route("/tokenizer_info", tokenizer_info),
    Route("/health", health),
    Route("/healthz", healthz),
    Route("/readyz", readyz),
]


def routes_of(spec: App) -> list[Route]:
    """All routes that a spec asks for. Raises `SpecError` where a declared one is built in."""
    built_in = V1_ROUTES + OTHER_ROUTES
    if spec.endpoint.unprefixed_routes:
        built_in += [Route(r.path.removeprefix("/v1"), r.endpoint, methods=list(r.methods or ())) for r in V1_ROUTES]
    return [*custom.routes(spec.custom_endpoints, built_in), *built_in]


def create_app(runtime: Runtime) -> Starlette:
    """The application over a runtime, which it starts and stops with its lifespan.

    Raises:
        SpecError: the spec declares API keys that the environment does not hold, tools that can't be imported, or
            routes that are built in.
    """
    endpoint = runtime.spec.endpoint
    keys = resolve_keys(endpoint)
    middleware = [Middleware(IdentityMiddleware)]
    if endpoint.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=endpoint.cors_origins,
                allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=["*"],
                expose_headers=["x-request-id"],
            )
        )
    if keys:
        middleware.append(Middleware(KeyMiddleware, keys=keys))
    middleware.append(Middleware(GuardMiddleware, limits=runtime.spec.limits))

    store = choose_store(runtime.spec)
    state = runtime.spec.state
    responders = Responders(runtime, run_turn)
    service = ResponseService(runtime.spec.limits, store, responders, max_background=state.max_background)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await runtime.start()
        await service.start()
        yield
        await runtime.stop()
        await service.stop()

    app = Starlette(
        routes=routes_of(runtime.spec),
        middleware=middleware,
        exception_handlers={IxmodalError: handle, HTTPError: handle, HTTPException: handle, Exception: handle},
        lifespan=lifespan,
    )
    app.state.runtime = runtime
    app.state.responders = responders
    app.state.responses = service
    app.state.conversations = ConversationService(store, runtime.spec.limits.max_messages)
    return app
