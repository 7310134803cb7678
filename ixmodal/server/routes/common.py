"""What the generating routes share: reading the body, running the choices, whole or as a stream."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from ixmodal.engine.client import EngineClient
from ixmodal.engine.request import GenerationRequest, Output, Usage
from ixmodal.runtime import Runtime
from ixmodal.server.choices import Collected, generate_all
from ixmodal.server.errors import from_validation
from ixmodal.server.sse import event

_LARGE_BODY = 65_536
Body = TypeVar("Body", bound=BaseModel)
Outputs = AsyncGenerator[tuple[int, Output], None]
ToEvents = Callable[[int, Output], list[dict[str, Any]]]
Closing = Callable[[list[Usage]], dict[str, Any]]


def runtime_of(request: Request) -> Runtime:
    """The runtime that the application serves."""
    runtime: Runtime = request.app.state.runtime
    return runtime


async def parse(request: Request, kind: type[Body]) -> Body:
    """The body as a request of `kind`. Raises `HTTPError` 400 that names what is wrong with it."""
    raw = await request.body()
    try:
        if len(raw) > _LARGE_BODY:
            return await asyncio.to_thread(kind.model_validate_json, raw)
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise from_validation(error) from None


def head_of(prefix: str, object: str, model: str) -> dict[str, Any]:
    """What all chunks of an answer have in common."""
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "object": object, "created": int(time.time()), "model": model}


async def collect(engine: EngineClient, requests: Sequence[GenerationRequest]) -> list[Collected]:
    """All choices, whole."""
    choices = [Collected() for _ in requests]
    async with aclosing(generate_all(engine, requests)) as outputs:
        async for index, output in outputs:
            choices[index].add(output)
    return choices


async def started(engine: EngineClient, requests: Sequence[GenerationRequest]) -> Outputs:
    """The outputs, after the first: what is refused is refused before a status line is sent."""
    outputs = generate_all(engine, requests)
    try:
        first = await anext(outputs)
    except BaseException:
        await outputs.aclose()
        raise

    async def resumed() -> Outputs:
        async with aclosing(outputs):
            yield first
            async for item in outputs:
                yield item

    return resumed()


async def events(
    outputs: Outputs, opening: Sequence[dict[str, Any]], to_events: ToEvents, closing: Closing | None
) -> AsyncGenerator[bytes, None]:
    """Outputs as server-sent events: `opening`, then what `to_events` makes of each, then `closing` of all usages."""
    usages: dict[int, Usage] = {}
    for data in opening:
        yield event(data)
    async with aclosing(outputs):
        async for index, output in outputs:
            usages[index] = output.usage
            for data in to_events(index, output):
                yield event(data)
    if closing is not None:
        yield event(closing([usages[index] for index in sorted(usages)]))
