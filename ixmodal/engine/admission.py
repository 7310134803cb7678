"""Who may generate now, who waits, and who is turned away."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ixmodal.errors import BusyError

_MAX_RETRY_AFTER = 60
_SMOOTHING = 0.2


class Group:
    """What the choices or inputs of one request have in common: one place in the queue, and one deadline.

    Once one of them is in, the others wait for slots behind it, whether or not the queue is full: what was begun is
    not refused half-way, and a request counts once. Whoever makes them keeps few of them in the queue at a time.
    """

    def __init__(self, deadline: float | None = None) -> None:
        """`deadline` is of the event loop's clock; None: each has its own time."""
        self.deadline = deadline
        self.is_admitted = False


class Admission:
    """A bounded first-in-first-out queue before a model's slots."""

    def __init__(self, slots: int, max_queued: int, queue_timeout: float) -> None:
        self._free = slots
        self._slots = slots
        self._max_queued = max_queued
        self._queue_timeout = queue_timeout
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._joined: set[asyncio.Future[None]] = set()
        """Of those that wait, the ones whose request was admitted before."""
        self._seconds_each = 1.0

    @property
    def queued(self) -> int:
        """Requests that wait for a slot."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """Slots in use."""
        return self._slots - self._free

    @property
    def retry_after(self) -> int:
        """Seconds after which a place is likely, from how long requests took lately."""
        estimate = self._seconds_each * (self.queued + 1) / self._slots
        return max(1, min(_MAX_RETRY_AFTER, round(estimate)))

    @asynccontextmanager
    async def slot(self, group: Group | None = None) -> AsyncIterator[None]:
        """Hold a slot for the block. Raises `BusyError` if the queue is full or the wait too long."""
        await self._enter(group or Group())
        began = time.monotonic()
        try:
            yield
        finally:
            self._seconds_each += _SMOOTHING * (time.monotonic() - began - self._seconds_each)
            self._leave()

    async def _enter(self, group: Group) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            group.is_admitted = True
            return
        if not group.is_admitted and len(self._waiting) - len(self._joined) >= self._max_queued:
            raise BusyError(
                f"The queue is full: {self.busy} requests are running and {self.queued} are waiting. "
                f"Please retry after {self.retry_after} seconds.",
                retry_after=self.retry_after,
            )
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if group.is_admitted:
            self._joined.add(turn)
        group.is_admitted = True
        try:
            async with asyncio.timeout(self._queue_timeout):
                await turn
        except BaseException as error:
            self._give_up(turn)
            if isinstance(error, TimeoutError):
                raise BusyError(
                    f"No slot became free within {self._queue_timeout:g} seconds. "
                    f"Please retry after {self.retry_after} seconds.",
                    retry_after=self.retry_after,
                ) from None
            raise

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)
            self._joined.discard(turn)
        elif turn.done() and not turn.cancelled():
            # The slot was handed over in the moment of giving up: pass it on.
            self._leave()

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            self._joined.discard(turn)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
