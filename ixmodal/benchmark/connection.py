"""One HTTP connection that notes when each piece of a body arrived, and does nothing else meanwhile."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast

import httptools


@dataclass
class Exchange:
    """A response as it arrived."""

    status: int = 0
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    """`time.perf_counter()` and the bytes."""
    ended: float = 0.0
    problem: str = ""
    """Empty where the message came to its end; otherwise `cut off`, `timed out`, `no connection` …"""
    detail: str = ""


class Connection(asyncio.Protocol):
    """A kept-alive connection: one request after another."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser = httptools.HttpResponseParser(self)
        self._exchange = Exchange()
        self._done: asyncio.Future[None] | None = None
        self._now = 0.0

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def post(self, request: bytes, timeout: float) -> Exchange:
        """Send a whole request; returns what came back, also where it was cut off or took too long."""
        assert self._transport
        self._exchange = exchange = Exchange()
        self._parser = httptools.HttpResponseParser(self)
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            async with asyncio.timeout(timeout):
                await self._done
        except TimeoutError:
            exchange.problem = "timed out"
            exchange.ended = time.perf_counter()
            self.close()
        return exchange

    def close(self) -> None:
        """Drop the connection; the server sees a client that hung up."""
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._now = time.perf_counter()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._exchange.detail = str(error)
            self._end("no HTTP")
            self.close()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._exchange.pieces.append((self._now, body))

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if not self._parser.should_keep_alive():
            self.close()
        self._end("")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._now = time.perf_counter()
        self._end("cut off")

    def _end(self, problem: str) -> None:
        if self._done and not self._done.done():
            self._exchange.status = self._parser.get_status_code()
            self._exchange.problem = problem
            self._exchange.ended = self._now
            self._done.set_result(None)
