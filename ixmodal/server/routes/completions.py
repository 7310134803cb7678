"""`POST /v1/completions`."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ixmodal.engine.admission import Group
from ixmodal.engine.request import FinishReason, GenerationRequest, Output, TokenLogprob, Usage
from ixmodal.server.choices import merge, started
from ixmodal.server.json import JSONResponse
from ixmodal.server.openapi.operation import ENGINE, Described, Operation
from ixmodal.server.protocol.answers import usage_of
from ixmodal.server.protocol.completions import CompletionRequest, LogprobList, choice
from ixmodal.server.protocol.fields import seeded
from ixmodal.server.protocol.objects.completions import TextCompletion, TextEvent
from ixmodal.server.rates import metered
from ixmodal.server.routes.common import head_of, model_of, parse, runtime_of
from ixmodal.server.sse import EventTemplate, event, stream

Outputs = AsyncGenerator[tuple[int, Output], None]


async def completions(request: Request) -> Response:
    """Continue prompts, whole or as a stream; choice index = prompt index times n + k."""
    body = await parse(request, CompletionRequest)
    runtime = runtime_of(request)
    limits = runtime.spec.limits
    body.check(limits)
    served = model_of(request, body.model)
    engine = served.engine_at_once
    sampling = body.choice_sampling(limits)
    requests = [GenerationRequest(p, params) for p in body.prompts() for params in seeded(sampling, body.tries)]
    # As many at once as the model has slots: the others would only fill the queue.
    group = Group(asyncio.get_running_loop().time() + limits.request_timeout)
    outputs = merge([metered(item.prompt, engine.generate(item, group)) for item in requests], at_once=engine.slots)
    if body.stream:
        return await stream(started(outputs), lambda items: _stream(items, body, served.model.id), limits)
    texts = [_Continuation(body, index // body.tries) for index in range(len(requests))]
    async with aclosing(outputs):
        async for index, output in outputs:
            texts[index].add(output)
    best = [found for at in range(0, len(texts), body.tries) for found in _best(texts[at : at + body.tries], body)]
    usage = usage_of([found.usage for found in texts], len(body.prompt))
    head = head_of("cmpl", "text_completion", served.model.id)
    return JSONResponse({**head, "choices": [found.choice(i) for i, found in enumerate(best)], "usage": usage})


async def _stream(outputs: Outputs, body: CompletionRequest, model: str) -> AsyncGenerator[bytes, None]:
    head = head_of("cmpl", "text_completion", model)
    shared: dict[str, Any] = {**head, "usage": None} if body.include_usage else head
    count = len(body.prompt) * body.tries
    parts = [_Continuation(body, index // body.tries) for index in range(count)]
    templates = [EventTemplate({**shared, "choices": [choice(at, EventTemplate.HOLE)]}) for at in range(count)]
    async with aclosing(outputs):
        async for index, output in outputs:
            parts[index].add(output)
            if (text := parts[index].take_text()) is not None:
                yield templates[index].fill(text)
            elif shown := parts[index].take(index):
                yield event({**shared, "choices": [shown]})
    if body.include_usage:
        usage = usage_of([part.usage for part in parts], len(body.prompt))
        yield event({**head, "choices": [], "usage": usage})


class _Continuation:
    """One choice as it grows: with `echo`, its prompt comes first."""

    def __init__(self, body: CompletionRequest, prompt_index: int) -> None:
        prompt = body.prompt[prompt_index]
        self._logprobs = LogprobList() if body.logprobs is not None else None
        self._awaits_prompt = bool(body.echo and body.wants_prompt)
        self._prompt = prompt if isinstance(prompt, str) else None
        self._texts = [prompt] if body.echo and isinstance(prompt, str) else []
        self._entries: list[TokenLogprob] = []
        self.reason: FinishReason | None = None
        self.usage = Usage()

    def add(self, output: Output) -> None:
        """Take the next output."""
        if self._awaits_prompt and output.prompt_logprobs:
            self._awaits_prompt = False
            read = _without_bos(output.prompt_logprobs, self._prompt)
            self._entries += read
            if self._prompt is None:
                self._texts.append(b"".join(entry.piece for entry in read).decode("utf-8", "replace"))
        self._texts.append(output.text)
        self._entries += output.logprobs
        self.usage, self.reason = output.usage, output.finish_reason

    @property
    def quality(self) -> float:
        """Mean log-probability a token: by this the best of several is chosen. An empty answer is the worst."""
        return statistics.fmean([entry.logprob or 0.0 for entry in self._entries] or [-math.inf])

    def take_text(self) -> str | None:
        """What has come since the last call, if it is text and no more."""
        if self._logprobs or self._awaits_prompt or self.reason or not (text := "".join(self._texts)):
            return None
        self._texts.clear()
        self._entries.clear()
        return text

    def take(self, index: int) -> dict[str, Any] | None:
        """What has come since the last call, as a chunk's choice."""
        if self._awaits_prompt or not (self.reason or any(self._texts)):
            return None
        shown = self.choice(index)
        self._texts, self._entries = [], []
        return shown

    def choice(self, index: int) -> dict[str, Any]:
        """The choice."""
        logprobs = self._logprobs.show(self._entries) if self._logprobs else None
        return choice(index, "".join(self._texts), self.reason, logprobs)


def _best(texts: list[_Continuation], body: CompletionRequest) -> list[_Continuation]:
    count = body.n or 1
    return texts if len(texts) == count else sorted(texts, key=lambda found: found.quality, reverse=True)[:count]


def _without_bos(entries: tuple[TokenLogprob, ...], text: str | None) -> list[TokenLogprob]:
    """A text's own tokens: without the BOS that was put in front, and the first without a log-probability."""
    if text is None:
        return list(entries)
    own = [entry for entry in entries if entry.piece]
    first = own[0]
    piece = first.piece if text.startswith(" ") else first.piece.removeprefix(b" ")
    return [TokenLogprob(first.id, piece, None), *own[1:]]


ROUTES = [
    Described(
        "/v1/completions",
        completions,
        Operation(
            "createCompletion",
            "POST",
            "Continue prompts, whole or as a stream of chunks.",
            TextCompletion,
            body=CompletionRequest,
            events=TextEvent,
            errors=ENGINE,
        ),
    )
]
