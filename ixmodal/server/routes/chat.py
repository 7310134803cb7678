"""`POST /v1/chat/completions`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ixmodal.engine.request import GenerationRequest, Output
from ixmodal.server.json import JSONResponse
from ixmodal.server.protocol.chat import ChatRequest, chunk, completion, usage_of
from ixmodal.server.protocol.fields import seeded
from ixmodal.server.routes.common import collect, events, head_of, parse, runtime_of, started
from ixmodal.server.sse import EventStream


async def chat_completions(request: Request) -> Response:
    """Answer a conversation, whole or as a stream of chunks."""
    body = await parse(request, ChatRequest)
    runtime = runtime_of(request)
    limits = runtime.spec.limits
    body.check(limits)
    engine = runtime.find(body.model).engine
    prompt, sampling = body.prompt(), body.sampling(limits, body.token_limit)
    requests = [GenerationRequest(prompt, params) for params in seeded(sampling, body.n or 1)]
    if not body.stream:
        choices = await collect(engine, requests)
        head = head_of("chatcmpl", "chat.completion", body.model)
        finished = [(choice.text, choice.finish_reason) for choice in choices]
        return JSONResponse(completion(head, finished, usage_of([choice.usage for choice in choices])))

    head = head_of("chatcmpl", "chat.completion.chunk", body.model)
    shared = {**head, "usage": None} if body.include_usage else head

    def to_events(index: int, output: Output) -> list[dict[str, Any]]:
        chunks = [chunk(shared, index, {"content": output.text})] if output.text else []
        return chunks + ([chunk(shared, index, {}, output.finish_reason)] if output.finish_reason else [])

    opening = [chunk(shared, index, {"role": "assistant", "content": ""}) for index in range(len(requests))]
    closing = (lambda usages: {**head, "choices": [], "usage": usage_of(usages)}) if body.include_usage else None
    stream = events(await started(engine, requests), opening, to_events, closing)
    return EventStream(stream, limits.write_timeout)
