"""Keeps one engine process alive: readiness, death, hang, restart with back-off, and the end of patience."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from enum import StrEnum
from itertools import count

from ixmodal.engine.messages import Cancel, FromWorker, Load, LoadFailed, Progress, Ready, ToWorker
from ixmodal.engine.process import EngineProcess
from ixmodal.engine.reply import Reply
from ixmodal.engine.request import ModelInfo
from ixmodal.engine.stream import Stream
from ixmodal.errors import (
    EngineDeadError,
    EngineError,
    EngineNotReadyError,
    InvalidRequestError,
    IxmodalError,
    ServerStoppingError,
    UnsupportedModelError,
    WeightsError,
)

logger = logging.getLogger("ixmodal.engine")
_FIRST_BACKOFF = 0.05
_LONGEST_BACKOFF = 10.0
_RESTARTS_BEFORE_READY = 2
"""A process that never became ready will hardly do so later: give up sooner."""


class EngineState(StrEnum):
    """Where an engine stands."""

    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


class Supervisor:
    """Runs engine processes one after the other and hands frames to the streams they belong to."""

    def __init__(self, load: Load, *, load_timeout: float, progress_timeout: float, max_restarts: int) -> None:
        self._load = load
        self._load_timeout = load_timeout
        self._progress_timeout = progress_timeout
        self._max_restarts = max_restarts
        self._process: EngineProcess | None = None
        self._streams: dict[int, Stream | Reply] = {}
        self._ids = count(1)
        self._last_sign = time.monotonic()
        self._useful = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.state = EngineState.LOADING
        self.error: IxmodalError | None = None
        self.model: ModelInfo | None = None
        self.restarts = 0
        self.on_failed: Callable[[IxmodalError], None] = lambda _error: None
        self.on_change: Callable[[], None] = lambda: None

    @property
    def pid(self) -> int | None:
        """The engine process, if one lives."""
        return self._process.pid if self._process else None

    @property
    def _works(self) -> bool:
        """True while an answer is owed. One that is complete may wait long for a slow reader."""
        return any(not stream.ended for stream in self._streams.values())

    def start(self) -> None:
        """Start the first process in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="engine supervisor")

    async def stop(self) -> None:
        """End the process and everything that waits for it."""
        self._set_state(EngineState.STOPPED)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._fail_streams(ServerStoppingError())

    async def wait_ready(self) -> ModelInfo:
        """Wait until the model is loaded. Raises the error that made it fail for good."""
        while self.state is not EngineState.READY:
            if self.error:
                raise self.error
            if self.state is EngineState.STOPPED:
                raise ServerStoppingError()
            await self._changed.wait()
        assert self.model is not None
        return self.model

    def submit(self, make: Callable[[int], ToWorker], sink: Stream | Reply) -> int:
        """Send the frame that `make` makes of a number; frames of that number go to `sink`. Returns the number.

        Raises:
            EngineNotReadyError: there is no process that is ready.
            InvalidRequestError: the request holds what no frame can: data nested too deeply, halves of characters.
        """
        if self.state is not EngineState.READY or self._process is None:
            raise EngineNotReadyError(f"The model is {self.state}. Please retry shortly.")
        if not self._works:
            self._last_sign = time.monotonic()
        id = next(self._ids)
        try:
            self._process.send(make(id))
        except (RecursionError, ValueError, OverflowError) as error:
            raise InvalidRequestError(f"the request can't be sent to the engine: {error}") from None
        self._streams[id] = sink
        return id

    def forget(self, id: int) -> None:
        """The reader of a stream is gone: stop the generation if it still runs."""
        stream = self._streams.pop(id, None)
        if stream and not stream.ended and self._process:
            self._process.send(Cancel(id))

    async def _run(self) -> None:
        deaths = 0
        while True:
            self._useful = False
            how = await self._live()
            deaths = 1 if self._useful else deaths + 1
            patience = self._max_restarts if self.model else min(self._max_restarts, _RESTARTS_BEFORE_READY)
            if self.error is None and deaths > patience:
                self.error = EngineError(f"The engine died {deaths} times in a row, the last time by {how}. Gave up.")
            if self.error is not None:
                self._give_up(self.error)
                return
            self.restarts += 1
            self._set_state(EngineState.RESTARTING)
            self._fail_streams(EngineDeadError(f"The engine process died ({how}) while it worked on this request."))
            pause = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 4 ** (deaths - 1)) * random.uniform(0.5, 1.0)
            logger.warning("engine of %s ended by %s; restart %d in %.2f s", self._load.path, how, deaths, pause)
            await asyncio.sleep(pause)

    async def _live(self) -> str:
        """One process from spawn to end. Returns how it ended."""
        try:
            process = await EngineProcess.spawn(self._load, self._take)
        except OSError as error:
            return f"the system's refusal to start it: {error.strerror}"
        self._process = process
        self._last_sign = time.monotonic()
        watch = asyncio.create_task(self._watch(process))
        try:
            await process.hung_up()
        finally:
            watch.cancel()
            self._process = None
            if self.state is EngineState.READY:
                self._set_state(EngineState.RESTARTING)
            process_end = await asyncio.shield(process.close())
        for line in process.last_words:
            logger.warning("engine said: %s", line)
        return process_end

    async def _watch(self, process: EngineProcess) -> None:
        """Kill a process that makes no progress while it should."""
        while True:
            loading = self.state is not EngineState.READY
            limit = self._load_timeout if loading else self._progress_timeout
            silent = time.monotonic() - self._last_sign
            if silent > limit and (loading or self._works):
                logger.error("engine of %s made no progress for %.1f s; ending it", self._load.path, silent)
                process.kill()
                return
            await asyncio.sleep(min(1.0, limit / 4))

    def _take(self, messages: list[FromWorker]) -> None:
        self._last_sign = time.monotonic()
        for message in messages:
            self._dispatch(message)

    def _dispatch(self, message: FromWorker) -> None:
        if isinstance(message, Ready):
            self.model = message.model
            self._set_state(EngineState.READY)
        elif isinstance(message, LoadFailed):
            self.error = (UnsupportedModelError if message.unsupported else WeightsError)(message.message)
        elif not isinstance(message, Progress):
            stream = self._streams.get(message.id)
            if stream is not None:
                stream.put(message)
                self._useful = self._useful or stream.ended

    def _give_up(self, error: IxmodalError) -> None:
        self._set_state(EngineState.FAILED)
        self._fail_streams(EngineDeadError(error.message))
        self.on_failed(error)

    def _fail_streams(self, error: IxmodalError) -> None:
        for stream in self._streams.values():
            stream.fail(error)
        self._streams.clear()

    def _set_state(self, state: EngineState) -> None:
        if self.state in (EngineState.STOPPED, EngineState.FAILED):
            return
        self.state = state
        self.on_change()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
