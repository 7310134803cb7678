"""Several generations as one stream of (choice index, output)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from ixmodal.engine.client import EngineClient
from ixmodal.engine.request import FinishReason, GenerationRequest, Output, Usage


async def generate_all(
    engine: EngineClient, requests: Sequence[GenerationRequest]
) -> AsyncGenerator[tuple[int, Output], None]:
    """Run all requests at once and yield their outputs as they come. The first failure ends all."""
    if len(requests) == 1:
        async with aclosing(engine.generate(requests[0])) as outputs:
            async for output in outputs:
                yield 0, output
        return
    queue: asyncio.Queue[tuple[int, Output | Exception | None]] = asyncio.Queue(maxsize=2 * len(requests))
    tasks = [asyncio.create_task(_pump(i, engine.generate(request), queue)) for i, request in enumerate(requests)]
    running = len(tasks)
    try:
        while running:
            index, item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                running -= 1
            else:
                yield index, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _pump(
    index: int, outputs: AsyncGenerator[Output, None], queue: asyncio.Queue[tuple[int, Output | Exception | None]]
) -> None:
    try:
        async with aclosing(outputs) as closing:
            async for output in closing:
                await queue.put((index, output))
        await queue.put((index, None))
    except Exception as error:  # noqa: BLE001  # carried over to the reader
        await queue.put((index, error))


class Collected:
    """The outputs of one choice, put together."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.usage = Usage()
        self.finish_reason: FinishReason | None = None

    def add(self, output: Output) -> None:
        """Take the next output."""
        self._parts.append(output.text)
        self.usage = output.usage
        self.finish_reason = output.finish_reason

    @property
    def text(self) -> str:
        """The whole text so far."""
        return "".join(self._parts)
