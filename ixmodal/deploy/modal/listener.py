"""uvicorn on the port to which Modal sends HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Self

import uvicorn

from ixmodal.deploy.modal.state import shared_store
from ixmodal.errors import IxmodalError
from ixmodal.runtime import Runtime
from ixmodal.server.app import create_app
from ixmodal.server.connection import bounded
from ixmodal.server.drain import Drain
from ixmodal.server.signals import CLOSING


class Listener:
    """A server that runs until it is closed, on the event loop on which it was opened."""

    def __init__(self, server: uvicorn.Server, serving: asyncio.Task[None], drain: Drain) -> None:
        self._server = server
        self._drain = drain
        self._serving = serving

    @classmethod
    async def open(cls, runtime: Runtime) -> Self:
        """Listen on the declared port.

        Raises:
            OSError: the port is in use.
            IxmodalError: the server can't start.
        """
        spec = runtime.spec
        # Bound here: uvicorn ends the process, without a word to Modal, if it can't bind.
        listening = socket.create_server(("0.0.0.0", spec.modal.port), backlog=2048)  # noqa: S104  # Modal's own network
        app = create_app(runtime, shared_store(spec))
        config = uvicorn.Config(
            app,
            http=bounded(spec.limits),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=CLOSING,
        )
        server = _Server(config)
        opened = cls(server, asyncio.create_task(server.serve(sockets=[listening])), app.state.drain)
        await opened._started()
        return opened

    async def close(self) -> None:
        """Refuse new requests, let running ones end within `limits.drain_timeout`, then close the port."""
        await self._drain.run()
        self._server.should_exit = True
        await self._serving

    async def _started(self) -> None:
        while not self._server.started and not self._serving.done():  # noqa: ASYNC110  # uvicorn tells by this alone
            await asyncio.sleep(0.005)
        if self._serving.done():
            self._serving.result()
            raise IxmodalError("the HTTP server ended before it had begun; its log lines say why")


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to Modal, which turns SIGTERM into a call of the exit hook."""
        yield
