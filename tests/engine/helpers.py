"""Waiting for what another process does, without guessing how long it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ixmodal.engine.messages import FromWorker

PATIENCE = 20.0
"""Seconds after which a test gives up: far beyond what any step takes."""


async def until(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # what is looked at belongs to the code under test
            await asyncio.sleep(0.001)


class Inbox:
    """Takes what a child says."""

    def __init__(self) -> None:
        self.messages: list[FromWorker] = []

    def __call__(self, messages: list[FromWorker]) -> None:
        self.messages += messages

    async def first(self) -> FromWorker:
        await until(lambda: self.messages)
        return self.messages[0]
