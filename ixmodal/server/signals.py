"""From SIGTERM or Ctrl-C to the end of a uvicorn server, however it was started.

uvicorn closes its port at the signal, lets requests run for as long as they like, and dies of the signal at last. Here
its port stays open while running requests end (see `drain`), and the exit code is 0.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SAME_STOP = 0.25
"""Seconds in which several signals are one: a terminal and a parent process may both send theirs."""
_LATECOMERS = 0.3
"""Seconds between the end of the port and that of the connections: who connected last is told that the server stops."""
CLOSING = 2
"""Seconds that uvicorn waits for connections after the drain: what is left of them is a client that does not read."""


class StopSignals:
    """Takes uvicorn's signals over: the first begins the drain, the second ends the process at once."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._server: uvicorn.Server | None = None
        self._loop = asyncio.get_running_loop()
        self._began: float | None = None
        self._stopping: asyncio.Task[None] | None = None

    @contextmanager
    def installed(self) -> Generator[None]:
        """Handle signals for the block; does nothing where uvicorn does not, as in another thread or server."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        server = getattr(before[signal.SIGTERM], "__self__", None)
        if not isinstance(server, uvicorn.Server):
            yield
            return
        self._server = server
        for number in _SIGNALS:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._began is None:
            self._began = time.monotonic()
            self._app.state.runtime.begin_drain()  # here, so that readiness falls at once
            self._loop.call_soon_threadsafe(self._begin)
        elif time.monotonic() - self._began > _SAME_STOP:
            os.write(2, b"ixmodal: stopped at once by a second signal\n")
            os._exit(128 + number)  # a process that is PID 1 can't die of a signal that it sends itself

    def _begin(self) -> None:
        self._stopping = self._loop.create_task(self._stop(), name="stop")

    async def _stop(self) -> None:
        assert self._server is not None
        try:
            await self._app.state.drain.run()
        finally:
            for listener in getattr(self._server, "servers", ()):  # there are none yet if it was just starting
                listener.close()
            await asyncio.sleep(_LATECOMERS)
            given = self._server.config.timeout_graceful_shutdown
            self._server.config.timeout_graceful_shutdown = CLOSING if given is None else min(given, CLOSING)
            self._server.should_exit = True


def handle_signals(app: Starlette) -> Starlette:
    """Have the application's lifespan take uvicorn's signals over. Returns the application."""
    inner: Any = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[Any]:
        with StopSignals(app).installed():
            async with inner(app) as state:
                yield state

    app.router.lifespan_context = lifespan
    return app
