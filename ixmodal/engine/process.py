"""One life of an engine process, seen from the server: spawn, frames out, frames in, death."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator

import msgspec

from ixmodal.engine import child as children
from ixmodal.engine.messages import FrameBuffer, FromWorker, Load, ToWorker, frame, from_worker

_RECEIVE_BYTES = 1 << 18
_KEPT_LINES = 20
_LINE_CHARACTERS = 500
_EXIT_GRACE = 2.0


class EngineProcess:
    """A child started as `python -m ixmodal.engine.worker`, with a socket for frames and a pipe for its stderr."""

    def __init__(
        self, child: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter, errors: int
    ) -> None:
        self._child = child
        self._reader = reader
        self._writer = writer
        self._errors = asyncio.create_task(self._listen(errors))
        self.last_words: deque[str] = deque(maxlen=_KEPT_LINES)

    @classmethod
    async def spawn(cls, load: Load) -> EngineProcess:
        """Take a child and tell it what to load. Raises `OSError` where no process can be started."""
        child = children.spawn()
        try:
            reader, writer = await asyncio.open_connection(sock=child.connection)
        except BaseException:
            child.discard()  # cancelled in this moment, nobody else knows of it
            raise
        process = cls(child.process, reader, writer, child.errors)
        process.send(load)
        return process

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def send(self, message: ToWorker) -> None:
        """Queue a message; a child that is gone is noticed by `messages`."""
        if not self._writer.is_closing():
            self._writer.write(frame([message]))

    async def messages(self) -> AsyncIterator[list[FromWorker]]:
        """Messages in batches as they arrive, until the child's end closes or sends what is no frame."""
        buffer = FrameBuffer()
        while True:
            try:
                data = await self._reader.read(_RECEIVE_BYTES)
                if not data:
                    return
                batch = [message for body in buffer.feed(data) for message in from_worker.decode(body)]
            except (ConnectionError, ValueError, msgspec.MsgspecError):
                return
            yield batch

    def kill(self) -> None:
        """End the child at once; `messages` then ends."""
        if self._child.poll() is None:
            self._child.kill()

    async def close(self) -> str:
        """Hang up, see the child off and reap it. Returns how it ended, in words."""
        self._writer.close()
        try:
            code = await asyncio.to_thread(self._child.wait, _EXIT_GRACE)
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
