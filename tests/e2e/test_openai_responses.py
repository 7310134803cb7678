"""`/v1/responses` on a real server with a real engine process: hang-ups, resuming, kill -9."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from ixmodal.errors import IxmodalError
from ixmodal.runtime import Runtime
from ixmodal.server.errors import HTTPError, handle
from ixmodal.server.guard import GuardMiddleware, IdentityMiddleware
from ixmodal.server.responders import Responders
from ixmodal.server.responses.conversations import ConversationService
from ixmodal.server.responses.service import ResponseService
from ixmodal.server.routes import conversations, responses
from ixmodal.server.routes.health import health, readyz
from ixmodal.server.store import SqliteStore
from ixmodal.server.turns import run_turn
from ixmodal.spec.sources import load_spec
from tests.support.scripted import find_scripted
from tests.support.server import Server, serve, wait_for

FACTORY = ("uvicorn", "--factory", "tests.e2e.test_openai_responses:build")
SLOW = "!slow=0.02 say:" + "abcdefghij" * 20


def build() -> Starlette:
    """The server that these tests start, its store where the environment says."""
    runtime = Runtime(load_spec(), find_scripted)
    service = ResponseService(
        runtime.spec.limits,
        SqliteStore(Path(os.environ["TEST_STORE"])),
        Responders(runtime, run_turn),
        flush_interval=0.05,
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await runtime.start()
        await service.start()
        yield
        await runtime.stop()
        await service.stop()

    app = Starlette(
        routes=[*responses.ROUTES, *conversations.ROUTES, Route("/health", health), Route("/readyz", readyz)],
        middleware=[Middleware(IdentityMiddleware), Middleware(GuardMiddleware, limits=runtime.spec.limits)],
        exception_handlers={IxmodalError: handle, HTTPError: handle, Exception: handle},
        lifespan=lifespan,
    )
    app.state.runtime = runtime
    app.state.responses = service
    app.state.conversations = ConversationService(service.store, runtime.spec.limits.max_messages)
    return app


def environment(folder: Path) -> dict[str, str]:
    spec = {"models": [{"id": "demo", "slots": 2}], "limits": {"drain_timeout": 1}}
    return {"IXMODAL_SPEC": json.dumps(spec), "TEST_STORE": str(folder / "responses.db")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(FACTORY, environment(tmp_path_factory.mktemp("store"))) as server:
        yield server


def sdk_of(server: Server) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, _strict_response_validation=True)


@pytest.fixture
def sdk(server: Server) -> Iterator[OpenAI]:
    with sdk_of(server) as sdk:
        yield sdk


def test_create_stream_and_chain(sdk: OpenAI) -> None:
    first = sdk.responses.create(model="demo", input="say:one", temperature=0)
    assert first.output_text == "one"
    with sdk.responses.stream(model="demo", input="say:two", previous_response_id=first.id) as events:
        names = [event.type for event in events]
        second = events.get_final_response()
    assert second.output_text == "two"
    assert names[0] == "response.created"
    assert second.usage is not None
    assert second.usage.input_tokens_details.cached_tokens > 0
    assert sdk.responses.retrieve(second.id).output_text == "two"


def test_log_probabilities_are_those_of_the_text(sdk: OpenAI) -> None:
    response = sdk.responses.create(model="demo", input="say:ab", top_logprobs=1)
    entries: Any = response.output[0].content[0].logprobs  # type: ignore[union-attr, index]  # the SDK's union of items
    assert b"".join(bytes(entry.bytes) for entry in entries) == b"ab"


def test_refusals_of_the_engine_name_the_input(sdk: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(model="demo", input="x" * 5000, stream=True)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")
    turns: Any = [{"role": "user", "content": "x" * 1500} for _ in range(4)] + [{"role": "user", "content": "say:fits"}]
    assert sdk.responses.create(model="demo", input=turns, truncation="auto").output_text == "fits"


def test_hanging_up_ends_a_foreground_stream(server: Server, sdk: OpenAI) -> None:
    stream = sdk.responses.create(model="demo", input=SLOW, stream=True)
    first = next(iter(stream))
    assert first.type == "response.created"
    stream.close()
    wait_for(lambda: server.health()["running"] == 0, 5)
    wait_for(lambda: sdk.responses.retrieve(first.response.id).status == "cancelled", 5)


def test_hanging_up_on_a_whole_answer_ends_it_too(server: Server) -> None:
    with pytest.raises(httpx.TimeoutException):
        httpx.post(f"{server.url}/v1/responses", json={"model": "demo", "input": SLOW}, timeout=0.5)
    wait_for(lambda: server.health()["running"] == 0, 3)


def test_background_goes_on_and_is_resumed_where_it_broke_off(server: Server, sdk: OpenAI) -> None:
    stream = sdk.responses.create(model="demo", input=SLOW, stream=True, background=True)
    seen: list[Any] = []
    for event in stream:
        seen.append(event)
        if len(seen) == 12:
            break
    stream.close()
    time.sleep(0.2)
    assert server.health()["running"] == 1
    id = seen[0].response.id
    with sdk.responses.stream(response_id=id, starting_after=seen[-1].sequence_number) as rest:
        later = [event.sequence_number for event in rest]
        assert rest.get_final_response().output_text == "abcdefghij" * 20
    assert later[0] == seen[-1].sequence_number + 1
    assert later == list(range(later[0], later[-1] + 1))


def test_cancelling_frees_the_engine(server: Server, sdk: OpenAI) -> None:
    made = sdk.responses.create(model="demo", input=SLOW, background=True)
    wait_for(lambda: sdk.responses.retrieve(made.id).status == "in_progress", 5)
    assert sdk.responses.cancel(made.id).status == "cancelled"
    wait_for(lambda: server.health()["running"] == 0, 3)


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_ends_leaves_honest_failures(tmp_path: Path, by: signal.Signals) -> None:
    env = environment(tmp_path)
    with serve(FACTORY, env) as server, sdk_of(server) as sdk:
        kept = sdk.responses.create(model="demo", input="say:kept")
        conversation = sdk.conversations.create(items=[{"type": "message", "role": "user", "content": "Hello."}])
        lost = sdk.responses.create(model="demo", input=SLOW, background=True)
        wait_for(lambda: sdk.responses.retrieve(lost.id).status == "in_progress", 5)
        time.sleep(0.3)
        server.stop(by)
    with serve(FACTORY, env) as server, sdk_of(server) as sdk:
        assert sdk.responses.retrieve(kept.id) == kept
        assert len(sdk.conversations.items.list(conversation.id).data) == 1
        failed = sdk.responses.retrieve(lost.id)
        assert failed.status == "failed"
        assert failed.error is not None
        assert failed.error.code == "server_error"
        with pytest.raises(openai.APIError, match=r"The server (ended|is stopping|stopped)"):
            list(sdk.responses.retrieve(lost.id, stream=True))
        assert sdk.responses.create(model="demo", input="say:on", previous_response_id=kept.id).output_text == "on"
