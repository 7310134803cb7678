"""A response in the making: a task that writes a log of events, which any number of readers follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Literal

from ixmodal.errors import ServerStoppingError
from ixmodal.server.responses.assembler import Assembler
from ixmodal.server.responses.record import Record
from ixmodal.server.turns import TurnEvent, TurnStarted

Turn = Callable[[], AsyncGenerator[TurnEvent, None]]
Save = Callable[["Run"], Awaitable[None]]
Fate = Literal["cancelled", "stopped", "dropped"]
"""Why a run was ended: by its client, by the server's end, or because nobody will ever ask for it."""


class Run:
    """Runs a turn as a task of its own.

    Events become visible to readers as they come, but for the last ones: these wait until `save` is done, so that who
    sees a response completed finds it in the store.
    """

    def __init__(self, record: Record, turn: Turn, save: Save) -> None:
        """Begin.

        Args:
            record: the response, which the run completes.
            turn: makes the events of the turn.
            save: keeps the run's record and log; called once, at the end, unless the run was dropped.
        """
        self.record = record
        self.error: Exception | None = None
        self.accepted = False
        self.fate: Fate | None = None
        self.flushed = 0
        self.flushing = asyncio.Lock()
        self.kept_status = record.response["status"]
        self._assembler = Assembler(record.response)
        self._turn = turn
        self._save = save
        self._visible = 0
        self._began = asyncio.Event()
        self._changed = asyncio.Event()
        self._ending = False
        self._assembler.open()
        self._publish()
        self._task = asyncio.create_task(self._run(), name=f"response {record.id}")

    @property
    def frames(self) -> list[bytes]:
        """The log so far, with the last events that may not be visible yet."""
        return self._assembler.frames

    def on_done(self, call: Callable[[], object]) -> None:
        """Have something called when it is done."""
        self._task.add_done_callback(lambda _task: call())

    def stop(self, fate: Fate) -> None:
        """End it, wherever it is. A run that is already being saved completes."""
        if not self._ending and self.fate is None:
            self.fate = fate
            asyncio.get_running_loop().call_soon(self._cancel)  # not before the task's first step

    def _cancel(self) -> None:
        if not self._ending:
            self._task.cancel()

    async def begun(self) -> None:
        """Wait until the prompt was accepted. Raises what refused it."""
        await self._began.wait()
        if self.error is not None and not self.accepted:
            raise self.error

    async def wait(self) -> None:
        """Wait until it is done."""
        await asyncio.wait([self._task])

    async def follow(self, after: int = -1) -> AsyncGenerator[bytes, None]:
        """The events after that sequence number, those to come too."""
        at = after + 1
        while True:
            changed = self._changed
            while at < self._visible:
                yield self.frames[at]
                at += 1
            if self._ending and self._visible == len(self.frames):
                return
            await changed.wait()

    async def _run(self) -> None:
        try:
            await self._produce()
        except asyncio.CancelledError:
            self._cut_short()
        except Exception as error:  # noqa: BLE001  # every failure becomes the response's own
            self.error = error
            self._assembler.fail(error)
        if self.fate != "dropped":
            await self._keep()
        self._ending = True
        self._began.set()
        self._publish()

    async def _produce(self) -> None:
        async with aclosing(self._turn()) as events:
            async for event in events:
                if isinstance(event, TurnStarted):
                    self.accepted = True
                    self._assembler.begin()
                    self._began.set()
                else:
                    self._assembler.add(event)
                if not self.record.is_final:
                    self._publish()
        if not self.record.is_final:
            raise RuntimeError("the turn ended without its last event")

    def _cut_short(self) -> None:
        if self.record.is_final:
            return
        if self.fate == "stopped" or self.fate is None:
            self.error = ServerStoppingError("The server stopped while it made this response. Please send it again.")
            self._assembler.fail(self.error)
        else:
            self._assembler.cancel()

    async def _keep(self) -> None:
        self._ending = True
        try:
            await self._save(self)
        except Exception as error:  # noqa: BLE001  # what can't be kept must not look as if it were
            self.error = error
            del self.frames[max(self._visible, self.flushed) :]
            self._assembler.fail(error)

    def _publish(self) -> None:
        self._visible = len(self.frames)
        self._changed.set()
        self._changed = asyncio.Event()
