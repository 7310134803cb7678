"""Work in a thread that the process does not wait for at its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


async def in_daemon_thread(function: Callable[[], Result], name: str) -> Result:
    """Run what may block for minutes, such as a download. If the wait is cancelled, the thread is left to itself.

    `asyncio.to_thread` would do, but for the end: its threads hold up the exit until they are done.
    """
    outcome: Future[Result] = Future()

    def work() -> None:
        if not outcome.set_running_or_notify_cancel():
            return
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001  # carried over to who waits
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True, name=name).start()
    return await asyncio.wrap_future(outcome)
