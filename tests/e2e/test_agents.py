"""An agent and custom endpoints, declared in a spec and served by a real uvicorn over the shipped model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.support.server import DEMO, Server, launch, serve

SPEC: dict[str, Any] = {
    "models": [{"id": "demo", "slots": 2}],
    "agents": [{"id": "helper", "model": "demo", "tools": ["tests.support.weather:get_weather"]}],
    "custom_endpoints": [
        {"path": "/about", "body": {"made_by": "us"}},
        {"method": "POST", "path": "/v1/feedback", "status": 202, "headers": {"x-queue": "one"}},
    ],
}
ASK: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve(DEMO, {"IXMODAL_SPEC": json.dumps(SPEC)}) as found:
        yield found


@pytest.fixture
def sdk(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_an_agent_is_a_model_in_the_list(sdk: OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == ["demo", "helper"]
    assert sdk.models.retrieve("helper").id == "helper"


def test_an_agent_runs_its_tool_and_answers_with_the_result(sdk: OpenAI) -> None:
    answer = sdk.chat.completions.create(model="helper", messages=ASK, temperature=0)
    assert answer.model == "helper"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.tool_calls is None
    assert "purple rain" in (answer.choices[0].message.content or "")
    alone = sdk.chat.completions.create(model="demo", messages=ASK, temperature=0)
    assert answer.usage is not None
    assert alone.usage is not None
    assert answer.usage.prompt_tokens > alone.usage.prompt_tokens


def test_an_agent_streams(sdk: OpenAI) -> None:
    stream = sdk.chat.completions.create(model="helper", messages=ASK, temperature=0, stream=True)
    chunks = list(stream)
    assert "purple rain" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert not any(chunk.choices[0].delta.tool_calls for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_an_agent_answers_responses(sdk: OpenAI) -> None:
    assert "purple rain" in sdk.responses.create(model="helper", input=ASK[0]["content"], temperature=0).output_text


def test_custom_endpoints_answer_as_declared(server: Server) -> None:
    assert httpx.get(f"{server.url}/about").json() == {"made_by": "us"}
    accepted = httpx.post(f"{server.url}/v1/feedback")
    assert (accepted.status_code, accepted.headers["x-queue"]) == (202, "one")
    assert httpx.delete(f"{server.url}/about").status_code == 405


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"custom_endpoints": [{"path": "/health"}]}, "GET /health is built in"),
        ({"custom_endpoints": [{"method": "POST", "path": "/v1/responses"}]}, "POST /v1/responses is built in"),
        ({"agents": [{"id": "demo", "model": "demo"}]}, "demo"),
        ({"agents": [{"id": "a", "model": "nope"}]}, "nope"),
        ({"agents": [{"id": "a", "model": "demo", "tools": ["nowhere:nothing"]}]}, "nowhere"),
    ],
)
def test_clashes_are_refused_at_load(change: dict[str, Any], words: str) -> None:
    with launch(DEMO, {"IXMODAL_SPEC": json.dumps({**SPEC, **change})}) as started:
        assert started.process.wait(30) == 1
        assert words in started.log
        assert "Traceback" not in started.log
