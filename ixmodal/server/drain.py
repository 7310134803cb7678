"""How a server stops: first it is no longer ready, then it takes no new requests, running ones end, and all else.

The server itself goes on listening meanwhile: who still sends a request is told to try elsewhere, and how it stands can
be asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ixmodal.errors import ServerStoppingError
from ixmodal.runtime import Runtime
from ixmodal.server.auth import PUBLIC_PATHS
from ixmodal.server.errors import to_http

logger = logging.getLogger("ixmodal.server")
_STILL_ANSWERED = PUBLIC_PATHS | {"/metrics"}
_LOOK_EVERY = 0.05
_LAST_WORDS = 1.0
"""Seconds for the errors of requests that were cut short to reach their clients."""


class Drain:
    """Counts the requests of a server, and ends them when it stops. All calls belong to one event loop."""

    def __init__(self, runtime: Runtime, work: Callable[[], int], close: Callable[[], Awaitable[None]]) -> None:
        """Nothing runs yet.

        Args:
            runtime: what answers; its `draining` says that the server stops, and refuses new requests.
            work: how many jobs run that no request waits for.
            close: ends what is left. Jobs that still run then fail with an error that says why.
        """
        self._runtime = runtime
        self._work = work
        self._close = close
        self._requests: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None
        self._is_over = False

    @property
    def in_progress(self) -> int:
        """Requests that are being answered, and jobs that no request waits for."""
        return len(self._requests) + self._runtime.in_flight + self._work()

    async def run(self) -> None:
        """Let running requests end within `limits.drain_timeout`, then end everything. Idempotent."""
        self._runtime.begin_drain()
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="drain")
        await asyncio.shield(self._running)

    async def _run(self) -> None:
        if self.in_progress:
            logger.info("stopping; %d requests are still running", self.in_progress)
        while self.in_progress and self._runtime.drain_time_left > 0:  # noqa: ASYNC110  # once in a lifetime
            await asyncio.sleep(_LOOK_EVERY)
        if self.in_progress:
            logger.warning("%d requests did not end in time and are cut short", self.in_progress)
        await self._close()
        await self._wait_for_last_words()
        self._is_over = True
        for task in self._requests:
            task.cancel()
        await self._wait_for_last_words()

    async def _wait_for_last_words(self) -> None:
        if self._requests:
            await asyncio.wait(self._requests, timeout=_LAST_WORDS)

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with 503 because the server stops."""
        if self._runtime.draining:
            await self._refuse(scope, receive, send)
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.start" and self._runtime.draining:
                MutableHeaders(raw=message.setdefault("headers", []))["connection"] = "close"
            await send(message)

        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        try:
            await app(scope, receive, noted)
        except asyncio.CancelledError:
            if not self._is_over or begun:
                raise
            task.uncancel()
            await self._refuse(scope, receive, send)
        finally:
            self._requests.discard(task)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = to_http(ServerStoppingError())
        error.headers["connection"] = "close"
        await error.response()(scope, receive, send)


class DrainMiddleware:
    """Refuses new requests while the server stops; health is still told."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self.app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request or refuse it."""
        if scope["type"] != "http" or scope["path"] in _STILL_ANSWERED:
            await self.app(scope, receive, send)
        else:
            await self._drain.serve(self.app, scope, receive, send)
