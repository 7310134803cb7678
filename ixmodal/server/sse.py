"""Server-sent events: whole events, LF only; see https://html.spec.whatwg.org/#event-stream-interpretation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Self, TypeVar

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


class EventTemplate:
    """Events that differ in one text: all else is encoded once, though it goes out with each token."""

    HOLE = "\0"
    """Stands where the text is to be. No id or name of ours has this character."""

    def __init__(self, data: Any) -> None:
        self._before, self._after = event(data).split(dumps(self.HOLE))

    def fill(self, text: str) -> bytes:
        """The event with a text."""
        return b"%b%b%b" % (self._before, dumps(text), self._after)


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
        filling = asyncio.create_task(self._fill(backlog))
        try:
            async with asyncio.timeout(None) as limit:
                with _Watch(backlog, limit, self._write_timeout) as watch:
                    while not backlog.is_done:
                        body = await backlog.take()
                        watch.note(is_writing=True)
                        await send({"type": "http.response.body", "body": body, "more_body": not backlog.is_done})
                        watch.note(is_writing=False)
        finally:
            filling.cancel()
            await asyncio.wait([filling])

    async def _fill(self, backlog: _Backlog) -> None:
        """Run the generator to its end, always in this task; pauses while too much waits."""
        try:
            async with aclosing(self._events) as events:
                async for body in events:
                    backlog.put(body)
                    if backlog.is_full:
                        await backlog.room()
        except Exception as error:  # noqa: BLE001  # the status is sent: any error must become an event
            backlog.put(event(to_http(error).as_event()))
        backlog.end(DONE)


class _Backlog:
    """Events on their way from a generator to a writer: what one yields while the other writes goes out together."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False
        self._news: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def is_done(self) -> bool:
        """True once all has been taken and nothing more will come."""
        return self._ended and not self._parts

    @property
    def is_full(self) -> bool:
        """True while nothing more should be put."""
        return self._size > _MAX_BACKLOG

    def put(self, body: bytes) -> None:
        """Have an event written."""
        self._parts.append(body)
        self._size += len(body)
        _wake(self._news)

    def end(self, body: bytes) -> None:
        """Have the last event written."""
        self._ended = True
        self.put(body)

    async def room(self) -> None:
        """Wait until something was taken."""
        self._room = self._loop.create_future()
        await self._room

    async def take(self) -> bytes:
        """All that is ready; waits for something."""
        if not self._parts:
            self._news = self._loop.create_future()
            await self._news
        taken = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        _wake(self._room)
        return taken


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


class _Watch:
    """Looks at a stream now and then: at a write that takes too long, and at a silence, in which it puts a comment.

    A stream has one timer for all its events: an event costs it a look at the clock.
    """

    def __init__(self, backlog: _Backlog, limit: asyncio.Timeout, write_timeout: float) -> None:
        self._backlog = backlog
        self._limit = limit
        self._write_timeout = write_timeout
        self._loop = asyncio.get_running_loop()
        self._is_writing = False
        self._since = self._loop.time()
        self._timer = self._loop.call_later(min(_WAITING_EVERY, write_timeout), self._look)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()

    def note(self, *, is_writing: bool) -> None:
        """A write begins or has ended."""
        self._is_writing = is_writing
        self._since = self._loop.time()

    def _look(self) -> None:
        now = self._loop.time()
        every = min(_WAITING_EVERY, self._write_timeout)
        due = self._since + (self._write_timeout if self._is_writing else _WAITING_EVERY)
        if now < due:
            self._timer = self._loop.call_at(min(due, now + every), self._look)
        elif self._is_writing:
            self._limit.reschedule(now)
        else:
            self._backlog.put(WAITING)
            self._timer = self._loop.call_at(now + every, self._look)


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
