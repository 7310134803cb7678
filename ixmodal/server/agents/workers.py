"""Where tools run: a bounded number at a time, so that those that never end can't eat up the server."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

_GRACE = 1.0
"""Seconds that a cancelled coroutine gets to clean up before it is left to itself."""
Result = TypeVar("Result")


class Workers:
    """Places for running calls. One that is given up keeps its place until it really ends.

    Threads are not those of the event loop's executor, which others need and which the process waits for at its end.
    """

    def __init__(self, limit: int) -> None:
        """At most `limit` calls at a time."""
        self._places = asyncio.Semaphore(limit)
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def full(self) -> bool:
        """True if the next call has to wait."""
        return self._places.locked()

    async def in_thread(self, function: Callable[[], Result]) -> Result:
        """Run a function in a thread of its own. If the wait is cancelled, the thread is left to itself."""
        await self._places.acquire()
        outcome: asyncio.Future[Callable[[], Result]] = asyncio.get_running_loop().create_future()
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._work, function, outcome), daemon=True, name="tool")
        try:
            thread.start()
        except BaseException:
            self._places.release()
            raise
        return (await outcome)()

    async def in_task(self, function: Callable[[], Awaitable[Result]]) -> Result:
        """Run what a function returns as a task, which is cancelled if the wait is."""
        await self._places.acquire()
        task = asyncio.create_task(_outcome(function))
        self._tasks.add(task)
        task.add_done_callback(self._end)
        try:
            await asyncio.wait({task})
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=_GRACE)
        if task.cancelled():
            raise RuntimeError("it was cancelled")
        return task.result()()

    def _work(self, function: Callable[[], Result], outcome: asyncio.Future[Callable[[], Result]]) -> None:
        found: Callable[[], Result]
        try:
            result = function()
            found = lambda: result  # noqa: E731  # a value to hand over
        except BaseException as error:  # noqa: BLE001  # carried over to the waiting task
            found = _raiser(error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            outcome.get_loop().call_soon_threadsafe(self._finish, outcome, found)

    def _finish(self, outcome: asyncio.Future[Callable[[], Result]], found: Callable[[], Result]) -> None:
        self._places.release()
        if not outcome.done():
            outcome.set_result(found)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._places.release()
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, or asyncio complains of it


async def _outcome(function: Callable[[], Awaitable[Result]]) -> Callable[[], Result]:
    try:
        result = await function()
    except (Exception, SystemExit) as error:  # noqa: BLE001  # carried over to the waiting task
        return _raiser(error)
    return lambda: result


def _raiser(error: BaseException) -> Callable[[], Any]:
    """Raises the error; one that would end the process or a task becomes an ordinary one."""
    if not isinstance(error, Exception):
        error = RuntimeError(f"{type(error).__name__} {error}".rstrip())

    def fail() -> Any:
        raise error

    return fail
