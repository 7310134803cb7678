"""`POST /v1/completions`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ixmodal.engine.request import GenerationRequest, Output
from ixmodal.server.json import JSONResponse
from ixmodal.server.protocol.chat import usage_of
from ixmodal.server.protocol.completions import DEFAULT_MAX_TOKENS, CompletionRequest, choice
from ixmodal.server.protocol.fields import seeded
from ixmodal.server.routes.common import collect, events, head_of, parse, runtime_of, started
from ixmodal.server.sse import EventStream


async def completions(request: Request) -> Response:
    """Continue prompts, whole or as a stream; choice index = prompt index times n + k."""
    body = await parse(request, CompletionRequest)
    runtime = runtime_of(request)
    limits = runtime.spec.limits
    body.check(limits)
    engine = runtime.find(body.model).engine
    sampling = body.sampling(limits, DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens)
    prompts = body.prompts()
    requests = [GenerationRequest(prompt, params) for prompt in prompts for params in seeded(sampling, body.n or 1)]
    head = head_of("cmpl", "text_completion", body.model)
    if not body.stream:
        found = await collect(engine, requests)
        choices = [choice(index, item.text, item.finish_reason) for index, item in enumerate(found)]
        usage = usage_of([item.usage for item in found], len(prompts))
        return JSONResponse({**head, "choices": choices, "usage": usage})

    shared = {**head, "usage": None} if body.include_usage else head

    def to_events(index: int, output: Output) -> list[dict[str, Any]]:
        if not output.text and not output.finish_reason:
            return []
        return [{**shared, "choices": [choice(index, output.text, output.finish_reason)]}]

    def closing(usages: list[Any]) -> dict[str, Any]:
        return {**head, "choices": [], "usage": usage_of(usages, len(prompts))}

    stream = events(await started(engine, requests), [], to_events, closing if body.include_usage else None)
    return EventStream(stream, limits.write_timeout)
