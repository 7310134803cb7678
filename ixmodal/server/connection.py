"""uvicorn's HTTP/1.1 connection with bounds: on a request's head, its time, and how many are open.

uvicorn itself has none: a client that sends a header a minute holds a connection for ever, and one that sends a
header without end fills the memory. Connections without number take all file descriptors: then no engine can be
replaced, and the event loop resets whoever comes. All can be done without an API key.
"""

from __future__ import annotations

import asyncio
import resource
from typing import ClassVar

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ixmodal.server.auth import PUBLIC_PATHS
from ixmodal.server.errors import HTTPError
from ixmodal.server.guard import too_long
from ixmodal.server.json import dumps
from ixmodal.spec import Limits

_RESERVED = 128
"""File descriptors that connections leave to all else: files, engines, upstreams, and bursts of new connections, which
the event loop accepts before it tells of them. At most half of what there is.
"""
_ENOUGH = 65_536


class BoundedConnection(HttpToolsProtocol):
    """One connection. A request's head must arrive within `limits`, counted from the connection's or its own start.

    A connection on which nothing is ever said, or on which a head is too slow or too long, is closed: in the first
    case without a word, otherwise after 408 or 431.
    """

    limits = Limits()
    silent: ClassVar[dict[BoundedConnection, None]] = {}
    """Connections that have sent no whole head yet, the oldest first."""
    _in_head = True
    _head_bytes = 0
    _heads = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin to wait for the first request."""
        super().connection_made(transport)
        if len(self.connections) > _most_connections():
            self._make_room()
        self.silent[self] = None
        self._start_timer()

    def _make_room(self) -> None:
        """Close the connection on which a first request has been waited for longest: who speaks comes before it."""
        oldest = next(iter(self.silent), None)
        if oldest is not None:
            del self.silent[oldest]
            self.connections.discard(oldest)  # at once: it is told of its end only after who speaks was counted
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is waited for."""
        self.silent.pop(self, None)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head is too long by now."""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._start_timer()  # of a later request: what comes between two counts as its head
        heads, was_in_head = self._heads, self._in_head
        super().data_received(data)
        if was_in_head and self._in_head and heads == self._heads:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.max_header_bytes:
                self._refuse(too_long(self.limits))

    def on_headers_complete(self) -> None:
        """The head is there: from here on, the application's own limits hold."""
        self.silent.pop(self, None)
        self._in_head = False
        self._head_bytes = 0
        self._heads += 1
        self._stop_timer()
        self.app = self._refuse_most if len(self.connections) > _most_connections() else self.config.loaded_app
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes next is another request's head."""
        self._in_head = True
        super().on_message_complete()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.limits.header_timeout, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self._is_answering:  # what was sent ahead may wait for as long as the answer takes
            self._start_timer()
        elif self._head_bytes:
            text = f"The request's head did not arrive within {self.limits.header_timeout:g} seconds."
            self._refuse(HTTPError(408, text, code="header_timeout"))
        else:
            self.transport.close()

    async def _refuse_most(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer where too many connections are open: health is told, all else has to come again."""
        if scope["path"] in PUBLIC_PATHS:
            await self.config.loaded_app(scope, receive, send)
            return
        text = "Too many connections are open. Please retry shortly."
        headers = {"retry-after": "1", "connection": "close"}
        error = HTTPError(503, text, type="server_error", code="too_many_connections", headers=headers)
        await error.response()(scope, receive, send)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, error: HTTPError) -> None:
        """Answer and close. While an earlier request is being answered, only close: two answers can't be mixed."""
        if not self.transport.is_closing() and not self._is_answering:
            body = dumps(error.body)
            phrase = {408: "Request Timeout", 431: "Request Header Fields Too Large"}[error.status]
            head = (
                f"HTTP/1.1 {error.status} {phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


def _most_connections() -> int:
    """As many as the process may have descriptors, but for some. Asked anew: the limit can be changed from outside."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, descriptors - min(_RESERVED, descriptors // 2))


def raise_descriptor_limit() -> None:
    """Allow this process as many file descriptors as it may have, up to 65,536: shells grant 1024 at first."""
    granted, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if most == resource.RLIM_INFINITY else min(most, _ENOUGH)
    if granted != resource.RLIM_INFINITY and granted < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def bounded(limits: Limits) -> type[BoundedConnection]:
    """The connection's class for a spec's limits, as uvicorn takes it for its `http`."""
    return type("BoundedConnection", (BoundedConnection,), {"limits": limits, "silent": {}})
