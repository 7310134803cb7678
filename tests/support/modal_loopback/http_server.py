"""An ASGI application under uvicorn, on a free port of loopback, in the thread of an event loop."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp

from tests.support.modal_loopback.service import LoopThread


class HttpServer:
    """Serves `app` until closed; what is still open then is cut off."""

    def __init__(self, loop: LoopThread, app: ASGIApp) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(app, interface="asgi3", lifespan="off", log_level="critical", access_log=False)
        self._server = uvicorn.Server(config)
        self._serving = loop.submit(self._server.serve(sockets=[listener]))

    def close(self) -> None:
        """Stop listening and wait for the server's end."""
        self._server.should_exit = self._server.force_exit = True
        self._serving.result(10)
