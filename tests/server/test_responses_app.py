"""An application with the routes of `/v1/responses` and `/v1/conversations` over turns that follow a script.

The last message of the user says what the turn does; see `Fake.turn`.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from openai import OpenAI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from ixmodal.engine.client import EngineClient
from ixmodal.engine.request import TokenLogprob, Usage
from ixmodal.errors import BusyError, ContextLengthError, EngineError, IxmodalError, ModelNotFoundError
from ixmodal.runtime import Runtime
from ixmodal.server.errors import HTTPError, handle
from ixmodal.server.responders import Responders
from ixmodal.server.responses.conversations import ConversationService
from ixmodal.server.responses.service import ResponseService
from ixmodal.server.routes import conversations, responses
from ixmodal.server.store import MemoryStore, Store
from ixmodal.server.turns import (
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    TurnEnd,
    TurnEvent,
    TurnRequest,
    TurnStarted,
)
from ixmodal.spec import App, Limits, Model


class Fake:
    """Turns by script, and what they were asked."""

    def __init__(self) -> None:
        self.requests: list[TurnRequest] = []
        self.gate = threading.Event()
        self.busy = 0
        self.closed = 0
        self.longest = 10**9

    async def turn(self, _engine: EngineClient, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        """Answer `echo: …` with the rest, word by word; other first words do what they say."""
        self.requests.append(request)
        if len(request.messages) > self.longest:
            raise ContextLengthError("too long", param="messages")
        told = [message["content"] for message in request.messages if message["role"] == "user"]
        verb, _, text = (told[-1] if told else "echo: nothing").partition(":")
        usage = Usage(prompt_tokens=10, cached_tokens=4)
        if self.busy:
            self.busy -= 1
            raise BusyError("busy", retry_after=0)
        yield TurnStarted(usage)
        try:
            async for event in self._events(verb, text.strip(), request):
                yield event
        finally:
            self.closed += 1
        reason = {"cut": "length", "call": "tool_calls"}.get(verb, "stop")
        yield TurnEnd(cast("Any", reason), Usage(prompt_tokens=10, completion_tokens=5, cached_tokens=4))

    async def _events(self, verb: str, text: str, request: TurnRequest) -> AsyncIterator[TurnEvent]:
        if verb == "think":
            yield ReasoningDelta("let me ")
            yield ReasoningDelta("see")
        if verb == "call":
            for index, name in enumerate(text.split()):
                yield ToolCallDelta(index, id=f"call_{index}", name=name)
                yield ToolCallDelta(index, arguments='{"a":')
                yield ToolCallDelta(index, arguments=" 1}")
            return
        for word in text.split(" ") if text else ():
            if word == "WAIT":
                while not self.gate.is_set():  # noqa: ASYNC110  # it is opened from another thread
                    await asyncio.sleep(0.005)
            elif word == "FAIL":
                raise EngineError("the engine failed")
            elif word == "BUG":
                raise ZeroDivisionError("secret detail")
            else:
                yield self._delta(word + " ", request.sampling.logprobs)

    def _delta(self, text: str, logprobs: int | None) -> TextDelta:
        if logprobs is None:
            return TextDelta(text)
        top = tuple(TokenLogprob(i, b"t%d" % i, -1.0 - i) for i in range(logprobs))
        return TextDelta(text, (TokenLogprob(7, text.encode(), float("-inf"), top),))


def build(fake: Fake, store: Store, **options: Any) -> Starlette:
    """The application."""
    limits = Limits(max_messages=40, max_tokens=1000, request_timeout=options.pop("request_timeout", 600))
    spec = App(models=(Model("demo"),), limits=limits)

    def find(model: str) -> Any:
        if model != "demo":
            raise ModelNotFoundError(f"no model {model}", param="model")
        model_spec = SimpleNamespace(id=model, overflow_to=None)
        return SimpleNamespace(engine_at_once=SimpleNamespace(slots=4), upstream=None, model=model_spec)

    runtime = cast("Runtime", SimpleNamespace(spec=spec, find=find))
    service = ResponseService(limits, store, Responders(runtime, fake.turn), **{"flush_interval": 0.02, **options})

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = Starlette(
        routes=[*responses.ROUTES, *conversations.ROUTES],
        exception_handlers={IxmodalError: handle, HTTPError: handle, HTTPException: handle},
        lifespan=lifespan,
    )
    app.state.runtime = runtime
    app.state.responses = service
    app.state.conversations = ConversationService(store, limits.max_messages)
    return app


@contextmanager
def serving(fake: Fake, store: Store | None = None, **options: Any) -> Iterator[tuple[TestClient, OpenAI]]:
    """The application as plain HTTP and behind the SDK, strict."""
    with TestClient(build(fake, store or MemoryStore(), **options)) as http:
        sdk = OpenAI(
            base_url="http://testserver/v1",
            api_key="none",
            max_retries=0,
            http_client=http,
            _strict_response_validation=True,
        )
        yield http, sdk


FUNCTION: dict[str, Any] = {
    "type": "function",
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": False,
}


def post(http: TestClient, **fields: Any) -> Any:
    return http.post("/v1/responses", json={"model": "demo", **fields})


def events_of(text: str) -> list[dict[str, Any]]:
    assert "\r" not in text
    assert text.endswith("\n\n")
    blocks = text.removesuffix("\n\n").split("\n\n")
    assert blocks.pop() == "data: [DONE]"
    events = []
    for block in blocks:
        name, _, data = block.partition("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def stream(http: TestClient, **fields: Any) -> list[dict[str, Any]]:
    events = events_of(post(http, stream=True, **fields).text)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def settled(http: TestClient, id: str, *wanted: str) -> dict[str, Any]:
    """Poll until the response has one of these statuses."""
    deadline = time.monotonic() + 10
    while (response := http.get(f"/v1/responses/{id}").json())["status"] not in wanted:
        assert time.monotonic() < deadline, response
        time.sleep(0.01)
    found: dict[str, Any] = response
    return found


def events_after(http: TestClient, id: str, after: int | None = None) -> list[dict[str, Any]]:
    query = "" if after is None else f"&starting_after={after}"
    return events_of(http.get(f"/v1/responses/{id}?stream=true{query}").text)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/responses/resp_nope", 404, "response_not_found"),
        ("GET", "/v1/responses/resp_nope?stream=true", 404, "response_not_found"),
        ("DELETE", "/v1/responses/resp_nope", 404, "response_not_found"),
        ("POST", "/v1/responses/resp_nope/cancel", 404, "response_not_found"),
        ("GET", "/v1/responses/resp_nope/input_items", 404, "response_not_found"),
        ("GET", "/v1/responses/resp_nope?limit=3", 400, "unknown_parameter"),
        ("GET", "/v1/responses/resp_nope?starting_after=3", 400, "invalid_value"),
        ("GET", "/v1/responses/resp_nope?stream=true&starting_after=-1", 400, "invalid_value"),
        ("GET", "/v1/responses/resp_nope/input_items?limit=0", 400, "invalid_value"),
        ("GET", "/v1/responses/resp_nope/input_items?limit=101", 400, "invalid_value"),
        ("GET", "/v1/responses/resp_nope/input_items?order=up", 400, "invalid_value"),
        ("GET", "/v1/responses", 405, "method_not_allowed"),
        ("GET", "/v1/conversations/conv_nope", 404, "conversation_not_found"),
        ("DELETE", "/v1/conversations/conv_nope", 404, "conversation_not_found"),
        ("GET", "/v1/conversations/conv_nope/items", 404, "conversation_not_found"),
    ],
)
def test_errors_have_the_envelope(method: str, path: str, status: int, code: str) -> None:
    with serving(Fake()) as (http, _):
        response = http.request(method, path)
        assert response.status_code == status, response.text
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
        assert response.json()["error"]["code"] == code
