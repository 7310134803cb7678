"""Server-sent events: one event, one body write, LF only; see https://html.spec.whatwg.org/#event-stream-interpretation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ixmodal.server.errors import to_http
from ixmodal.server.json import dumps

DONE = b"data: [DONE]\n\n"


def event(data: Any) -> bytes:
    """One event."""
    return b"data: " + dumps(data) + b"\n\n"


class EventStream(Response):
    """Streams events. An error after the first byte becomes an error event: a cut stream would pass for a whole one."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], write_timeout: float) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._write_timeout = write_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; a client that stops reading for `write_timeout` seconds is given up."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._guarded()) as bodies:
            async for body in bodies:
                async with asyncio.timeout(self._write_timeout):
                    await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _guarded(self) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self._events) as events:
                async for body in events:
                    yield body
        except Exception as error:  # noqa: BLE001  # the status is sent: any error must become an event
            yield event(to_http(error).body)
        yield DONE
