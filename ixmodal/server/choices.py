"""Several generations as one stream of (choice index, item)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

Item = TypeVar("Item")


async def merge(
    sources: Sequence[AsyncGenerator[Item, None]], at_once: int | None = None
) -> AsyncGenerator[tuple[int, Item], None]:
    """Run all sources, or `at_once` of them at a time, and yield items as they come. The first failure ends all."""
    if len(sources) == 1:
        async with aclosing(sources[0]) as items:
            async for item in items:
                yield 0, item
        return
    queue: asyncio.Queue[tuple[int, Item] | Exception | None] = asyncio.Queue(maxsize=2 * len(sources))
    room = asyncio.Semaphore(at_once or len(sources))
    tasks = [asyncio.create_task(_pump(index, source, queue, room)) for index, source in enumerate(sources)]
    running = len(tasks)
    try:
        while running:
            found = await queue.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                running -= 1
            else:
                yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _pump(
    index: int,
    source: AsyncGenerator[Item, None],
    queue: asyncio.Queue[tuple[int, Item] | Exception | None],
    room: asyncio.Semaphore,
) -> None:
    try:
        async with room, aclosing(source) as items:
            async for item in items:
                await queue.put((index, item))
        await queue.put(None)
    except Exception as error:  # noqa: BLE001  # carried over to the reader
        await queue.put(error)


async def started(
    items: AsyncGenerator[tuple[int, Item], None],
) -> AsyncGenerator[tuple[int, Item], None]:
    """The same items, once the first is there: what is refused is refused before a status line is sent."""
    try:
        first = await anext(items)
    except BaseException:
        await items.aclose()
        raise

    async def resumed() -> AsyncGenerator[tuple[int, Item], None]:
        async with aclosing(items):
            yield first
            async for item in items:
                yield item

    return resumed()
