"""`POST /v1/chat/completions`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ixmodal.engine.admission import Group
from ixmodal.engine.request import Usage
from ixmodal.server.choices import merge, started
from ixmodal.server.json import JSONResponse
from ixmodal.server.openapi.operation import ENGINE, Described, Operation
from ixmodal.server.protocol.answers import Answer, chunk, delta_of, head_delta, usage_of
from ixmodal.server.protocol.chat import ChatRequest
from ixmodal.server.protocol.fields import seeded
from ixmodal.server.protocol.objects.chat import ChatCompletion, ChatEvent
from ixmodal.server.routes.common import head_of, parse, responders_of, runtime_of
from ixmodal.server.sse import EventTemplate, event, stream
from ixmodal.server.turns import TextDelta, TurnEnd, TurnEvent, TurnStarted

Turns = AsyncGenerator[tuple[int, TurnEvent], None]


async def chat_completions(request: Request) -> Response:
    """Answer a conversation, whole or as a stream of chunks."""
    body = await parse(request, ChatRequest)
    runtime = runtime_of(request)
    limits = runtime.spec.limits
    body.check(limits)
    responder = responders_of(request).find(body.model)
    turn = body.turn(limits)
    count = body.n or 1
    group = Group(asyncio.get_running_loop().time() + limits.request_timeout)
    choices = [replace(turn, sampling=params, group=group) for params in seeded(turn.sampling, count)]
    # As many at once as the model has slots: the others would only fill the queue.
    turns = merge([responder.turn(choice) for choice in choices], at_once=responder.slots)
    if body.stream:
        return await stream(started(turns), lambda items: _stream(items, body, responder.id), limits)
    answers = [Answer() for _ in range(count)]
    async with aclosing(turns):
        async for index, found in turns:
            answers[index].add(found)
    head = head_of("chatcmpl", "chat.completion", responder.id)
    shown = [answer.choice(index, with_logprobs=bool(body.logprobs)) for index, answer in enumerate(answers)]
    return JSONResponse({**head, "choices": shown, "usage": usage_of([answer.usage for answer in answers])})


async def _stream(turns: Turns, body: ChatRequest, model: str) -> AsyncGenerator[bytes, None]:
    head = head_of("chatcmpl", "chat.completion.chunk", model)
    shared: dict[str, Any] = {**head, "usage": None} if body.include_usage else head
    usages = [Usage()] * (body.n or 1)
    hole = TextDelta(EventTemplate.HOLE)
    templates = [EventTemplate(chunk(shared, index, delta_of(hole))) for index in range(len(usages))]
    for index in range(len(usages)):
        yield event(chunk(shared, index, head_delta()))
    async with aclosing(turns):
        async for index, found in turns:
            if isinstance(found, TextDelta) and not found.logprobs:
                yield templates[index].fill(found.text)
            elif isinstance(found, TurnEnd):
                usages[index] = found.usage
                yield event(chunk(shared, index, {}, found.reason))
            elif not isinstance(found, TurnStarted):
                yield event(chunk(shared, index, delta_of(found), logprobs=getattr(found, "logprobs", ())))
    if body.include_usage:
        yield event({**head, "choices": [], "usage": usage_of(usages)})


ROUTES = [
    Described(
        "/v1/chat/completions",
        chat_completions,
        Operation(
            "createChatCompletion",
            "POST",
            "Answer a conversation, whole or as a stream of chunks.",
            ChatCompletion,
            body=ChatRequest,
            events=ChatEvent,
            errors=ENGINE,
        ),
    )
]
