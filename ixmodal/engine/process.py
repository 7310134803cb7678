"""One life of an engine process, seen from the server: spawn, frames out, frames in, death."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable

import msgspec

from ixmodal.engine import child as children
from ixmodal.engine.messages import SAVE_SECONDS, FrameBuffer, FromWorker, Load, ToWorker, frame, from_worker

Take = Callable[[list[FromWorker]], None]
"""Gets the messages of a frame."""
_KEPT_LINES = 20
_LINE_CHARACTERS = 500
_EXIT_GRACE = 2.0


class _Connection(asyncio.Protocol):
    """Our end of the socket. Messages are handed on in the moment in which they are read: no task has to be woken."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._buffer = FrameBuffer()
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvloop's is no subclass
        """The socket is open."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand on the frames that are complete; of what is no frame, nothing more is read."""
        bodies = self._buffer.feed(data)
        while True:
            try:
                body = next(bodies, None)
                messages = None if body is None else from_worker.decode(body)
            except (ValueError, msgspec.MsgspecError):
                self.close()
                return
            if messages is None:
                return
            self._take(messages)

    def connection_lost(self, _error: Exception | None) -> None:
        """The child is gone, or we hung up."""
        self.lost.set()

    def send(self, message: ToWorker) -> None:
        """Write a message, if anybody may still read it."""
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(frame([message]))

    def close(self) -> None:
        """Hang up, and read no more."""
        assert self._transport is not None
        self._transport.close()


class EngineProcess:
    """A child started as `python -m ixmodal.engine.worker`, with a socket for frames and a pipe for its stderr."""

    def __init__(self, child: subprocess.Popen[bytes], connection: _Connection, errors: int) -> None:
        self._child = child
        self._connection = connection
        self.grace = _EXIT_GRACE
        """Seconds that it has to end by itself."""
        self._errors = asyncio.create_task(self._listen(errors))
        self.last_words: deque[str] = deque(maxlen=_KEPT_LINES)

    @classmethod
    async def spawn(cls, load: Load, take: Take) -> EngineProcess:
        """Take a child and tell it what to load; `take` gets what it says, a frame's messages at a time.

        Raises:
            OSError: no process can be started.
        """
        child = children.spawn()
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(take), sock=child.connection)
        except BaseException:
            child.discard()  # cancelled in this moment, nobody else knows of it
            raise
        process = cls(child.process, connection, child.errors)
        process.grace += SAVE_SECONDS if load.disk_cache_bytes else 0.0
        process.send(load)
        return process

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def send(self, message: ToWorker) -> None:
        """Queue a message; a child that is gone is noticed by `hung_up`."""
        self._connection.send(message)

    async def hung_up(self) -> None:
        """Wait until the child's end closes or sends what is no frame."""
        await self._connection.lost.wait()

    def kill(self) -> None:
        """End the child at once; then it has `hung_up`."""
        if self._child.poll() is None:
            self._child.kill()

    async def close(self) -> str:
        """Hang up, see the child off and reap it. Returns how it ended, in words."""
        self._connection.close()
        try:
            code = await asyncio.to_thread(self._child.wait, self.grace)
        except subprocess.TimeoutExpired:
            self._child.kill()
            code = await asyncio.to_thread(self._child.wait)
        await asyncio.wait([self._errors], timeout=_EXIT_GRACE)
        self._errors.cancel()
        return _in_words(code)

    async def _listen(self, descriptor: int) -> None:
        """Keep the last lines that native code wrote; the pipe must never fill."""
        reader = asyncio.StreamReader()
        pipe = os.fdopen(descriptor, "rb", 0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            rest = b""
            while data := await reader.read(65_536):
                *lines, rest = (rest[-65_536:] + data).split(b"\n")
                self.last_words.extend(
                    line.decode("utf-8", "replace")[:_LINE_CHARACTERS] for line in lines if line.strip()
                )
        finally:
            transport.close()


def _in_words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
