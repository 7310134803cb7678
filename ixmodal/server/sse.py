"""Server-sent events: whole events, LF only; see https://html.spec.whatwg.org/#event-stream-interpretation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ixmodal.server.errors import to_http
from ixmodal.server.json import dumps
from ixmodal.spec import Limits

DONE = b"data: [DONE]\n\n"
WAITING = b": waiting\n\n"
"""A comment, which clients skip: proxies cut connections on which nothing moves."""
_WAITING_EVERY = 15.0
_MAX_BACKLOG = 16_384
"""Bytes that may wait for a client that lags; beyond them what the engine says is merged where it arrives."""
Begun = TypeVar("Begun")


def event(data: Any) -> bytes:
    """One event."""
    return b"data: " + dumps(data) + b"\n\n"


class EventStream(Response):
    """Streams events. An error after the first byte becomes an error event: a cut stream would pass for a whole one.

    Every write carries all events that are ready. None waits for another: the first goes out at once, those that come
    while it is being written go together. Where a write is a remote call, as on Modal, few calls carry many tokens.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], write_timeout: float) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._write_timeout = write_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; a client that stops reading for `write_timeout` seconds is given up."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        backlog = _Backlog()
        filling = asyncio.create_task(backlog.fill(self._guarded()))
        try:
            while not backlog.is_done:
                body = await backlog.take()
                async with asyncio.timeout(self._write_timeout):
                    await send({"type": "http.response.body", "body": body, "more_body": not backlog.is_done})
        finally:
            filling.cancel()
            await asyncio.wait([filling])

    async def _guarded(self) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self._events) as events:
                async for body in events:
                    yield body
        except Exception as error:  # noqa: BLE001  # the status is sent: any error must become an event
            yield event(to_http(error).as_event())
        yield DONE


class _Backlog:
    """Events on their way from a generator to a writer: what one yields while the other writes goes out together."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()

    @property
    def is_done(self) -> bool:
        """True once all has been taken and nothing more will come."""
        return self._ended and not self._parts

    async def fill(self, events: AsyncGenerator[bytes, None]) -> None:
        """Run the generator to its end, always in this task; pauses while too much waits."""
        async with aclosing(events):
            async for body in events:
                self._parts.append(body)
                self._size += len(body)
                self._filled.set()
                while self._size > _MAX_BACKLOG:
                    self._taken.clear()
                    await self._taken.wait()
        self._ended = True
        self._filled.set()

    async def take(self) -> bytes:
        """All that is ready; waits for something, or for the end. In a long silence, a comment."""
        try:
            async with asyncio.timeout(_WAITING_EVERY):
                await self._filled.wait()
        except TimeoutError:
            return WAITING
        self._filled.clear()
        taken = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        self._taken.set()
        return taken


async def stream(
    beginning: Awaitable[Begun], follow: Callable[[Begun], AsyncGenerator[bytes, None]], limits: Limits
) -> EventStream:
    """A stream of what `follow` makes of `beginning`, which is waited for so that a refusal keeps its status.

    After `limits.head_timeout` seconds the wait goes on behind the status: comments keep the connection, and a refusal
    becomes an error event. Platforms and proxies give up on a request that has not begun to answer.

    Raises:
        Exception: what `beginning` raises in that time.
    """
    begun = asyncio.ensure_future(beginning)
    try:
        await asyncio.wait([begun], timeout=limits.head_timeout)
    except asyncio.CancelledError:
        begun.cancel()
        await asyncio.wait([begun])
        raise
    if begun.done():
        return EventStream(follow(begun.result()), limits.write_timeout)
    return EventStream(_late(begun, follow), limits.write_timeout)


async def _late(
    begun: asyncio.Future[Begun], follow: Callable[[Begun], AsyncGenerator[bytes, None]]
) -> AsyncGenerator[bytes, None]:
    yield WAITING
    async with aclosing(follow(await begun)) as events:
        async for body in events:
            yield body
