"""A scheduler that a test talks to as the server does."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ixmodal.backends.base import Backend, Chunk, LoadParams
from ixmodal.backends.scripted import ScriptedBackend
from ixmodal.engine.channel import Channel
from ixmodal.engine.messages import (
    Finished,
    FrameBuffer,
    Generate,
    Load,
    Progress,
    Started,
    frame,
    from_worker,
)
from ixmodal.engine.request import (
    GenerationRequest,
    Prompt,
    SamplingParams,
    TextPrompt,
)
from ixmodal.engine.scheduler import Scheduler
from tests.engine.helpers import PATIENCE


class Peer:
    """The server's end of a worker's socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.settimeout(PATIENCE)
        self._buffer = FrameBuffer()
        self._groups: list[list[Any]] = []
        self._arrived: list[Any] = []

    def send(self, *messages: Any) -> None:
        self._socket.sendall(frame(messages))

    def next(self) -> Any:
        while not self._arrived:
            self._arrived += self.next_group()
        return self._arrived.pop(0)

    def next_group(self) -> list[Any]:
        """The messages of one frame."""
        while not self._groups:
            data = self._socket.recv(65_536)
            if not data:
                raise EOFError
            self._groups += map(from_worker.decode, self._buffer.feed(data))
        return self._groups.pop(0)

    def until(self, wanted: Callable[[Any], bool]) -> list[Any]:
        """All frames up to the first that is wanted."""
        frames = [self.next()]
        while not wanted(frames[-1]):
            frames.append(self.next())
        return frames

    def answer(self, message: Generate) -> tuple[str, Finished, Started]:
        self.send(message)
        frames = [f for f in self.until(lambda f: isinstance(f, Finished)) if not isinstance(f, Progress)]
        return "".join(getattr(f, "text", "") for f in frames), frames[-1], frames[0]


class Recording(ScriptedBackend):
    """Notes each chunk; lets a forward pass only when the test gives leave, if it is gated."""

    def __init__(self, params: LoadParams) -> None:
        super().__init__(params)
        self.chunks: list[tuple[int, int, int]] = []
        self.gate: queue.Queue[None] | None = None
        self.waiting = threading.Event()

    def forward(self, chunks: Sequence[Chunk]) -> None:
        if self.gate is not None:
            self.waiting.set()
            self.gate.get(timeout=PATIENCE)
        self.chunks += [(chunk.slot, len(chunk.tokens), chunk.past) for chunk in chunks]
        super().forward(chunks)


@contextmanager
def served(backend: Backend, batch_size: int = 16, draft_tokens: int = 0) -> Iterator[Peer]:
    """A worker in a thread; a native call would hold it as it holds a process."""
    ours, theirs = socket.socketpair()
    load = Load(backend="", path="", slots=backend.slots, batch_size=batch_size, threads=1, draft_tokens=draft_tokens)
    worker = Scheduler(Channel(theirs), backend, load)

    def run() -> None:
        with suppress(SystemExit):  # how it ends when it has something to say and nobody listens
            worker.run()

    thread = threading.Thread(target=run)
    with ours, theirs:
        thread.start()
        try:
            yield Peer(ours)
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
            assert not thread.is_alive()


def generate(id: int, prompt: str | Prompt, **sampling: Any) -> Generate:
    told: Prompt = TextPrompt(prompt) if isinstance(prompt, str) else prompt
    return Generate(id, GenerationRequest(told, SamplingParams(temperature=0.0, **sampling)))
