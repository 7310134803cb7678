from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel
from starlette.testclient import TestClient

from tests.server.test_responses_app import Fake, post, serving, stream


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def both(fake: Fake) -> Iterator[tuple[TestClient, OpenAI]]:
    with serving(fake) as clients:
        yield clients


@pytest.fixture
def http(both: tuple[TestClient, OpenAI]) -> TestClient:
    return both[0]


@pytest.fixture
def sdk(both: tuple[TestClient, OpenAI]) -> OpenAI:
    return both[1]


def test_a_whole_response_has_every_field(http: TestClient) -> None:
    response = post(http, input="echo: a b", metadata={"k": "v"}, instructions="Be brief.").json()
    assert response.pop("id").startswith("resp_")
    assert response.pop("completed_at") >= response.pop("created_at")
    (message,) = response.pop("output")
    assert message.pop("id").startswith("msg_")
    part = {"type": "output_text", "text": "a b ", "annotations": [], "logprobs": []}
    assert message == {"type": "message", "role": "assistant", "status": "completed", "content": [part]}
    assert response == {
        "object": "response",
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": "demo",
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 6},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 15,
        },
        "instructions": "Be brief.",
        "max_output_tokens": None,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "conversation": None,
        "store": True,
        "temperature": 1.0,
        "top_p": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "top_logprobs": 0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "truncation": "disabled",
        "metadata": {"k": "v"},
        "max_tool_calls": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
    }


def test_truncation_leaves_out_the_oldest_turns(http: TestClient, fake: Fake) -> None:
    fake.longest = 5
    turns = [{"role": role, "content": f"echo: {n}"} for n in range(6) for role in ("user", "assistant")]
    items = [*turns, {"role": "user", "content": "echo: last"}]
    assert post(http, input=items, instructions="Be.").status_code == 400
    fake.requests.clear()
    response = post(http, input=items, instructions="Be.", truncation="auto")
    assert response.json()["truncation"] == "auto"
    assert response.json()["output"][0]["content"][0]["text"] == "last "
    sent = fake.requests[-1].messages
    assert [message["role"] for message in sent][:2] == ["system", "user"]
    assert len(sent) in range(2, 6)
    fake.longest = 1
    assert post(http, input=items, instructions="Be.", truncation="auto").status_code == 400


def test_log_probabilities(sdk: OpenAI, http: TestClient) -> None:
    response = sdk.responses.create(
        model="demo", input="echo: a", top_logprobs=2, include=["message.output_text.logprobs"]
    )
    assert response.top_logprobs == 2
    entry = response.output[0].content[0].logprobs[0]  # type: ignore[union-attr, index]  # the SDK's union of items
    assert (entry.token, entry.bytes, entry.logprob) == ("a ", [97, 32], -9999.0)
    assert [(top.token, top.logprob) for top in entry.top_logprobs] == [("t0", -1.0), ("t1", -2.0)]
    events = stream(http, input="echo: a", top_logprobs=1)
    delta = next(event for event in events if event["type"] == "response.output_text.delta")
    assert delta["logprobs"] == [
        {"token": "a ", "logprob": -9999.0, "top_logprobs": [{"token": "t0", "logprob": -1.0}]}
    ]


def test_items_become_messages(http: TestClient, fake: Fake) -> None:
    items = [
        {"role": "developer", "content": "Rules."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one "}] * 2},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I look.", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "sub", "arguments": "{}", "status": "completed", "id": None},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "system", "content": "Late."},
        {"role": "user", "content": "echo: x"},
    ]
    assert post(http, input=items, instructions="First.").status_code == 200

    def call(id: str, name: str) -> dict[str, Any]:
        return {"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}}

    assert fake.requests[0].messages == [
        {"role": "system", "content": "First.\n\nRules."},
        {"role": "user", "content": "one one "},
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "hm",
            "tool_calls": [call("c1", "add"), call("c2", "sub")],
        },
        {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "1"},
        {"role": "tool", "tool_call_id": "c2", "name": "sub", "content": "2"},
        {"role": "assistant", "content": "No."},
        {"role": "system", "content": "Late."},
        {"role": "user", "content": "echo: x"},
    ]


class Answer(BaseModel):
    a: int


def test_the_sdk_creates_streams_and_parses(sdk: OpenAI) -> None:
    response = sdk.responses.create(model="demo", input="echo: hello you")
    assert response.output_text == "hello you "
    assert response.usage is not None
    assert response.usage.total_tokens == 15

    with sdk.responses.stream(model="demo", input="think: yes") as events:
        seen = [event.type for event in events]
        final = events.get_final_response()
    assert seen[0] == "response.created"
    assert seen[-1] == "response.completed"
    assert final.output_text == "yes "

    parsed = sdk.responses.parse(model="demo", input='echo: {"a":5}', text_format=Answer)
    assert parsed.output_parsed == Answer(a=5)
    with sdk.responses.stream(model="demo", input='echo: {"a":6}', text_format=Answer) as events:
        assert events.get_final_response().output_parsed == Answer(a=6)


def test_the_sdk_calls_tools_and_sends_what_it_got(sdk: OpenAI, fake: Fake) -> None:
    tools: Any = [openai.pydantic_function_tool(Answer)]
    conversation: Any = [{"role": "user", "content": "call: Answer"}]
    with sdk.responses.stream(model="demo", input=conversation, tools=tools) as events:
        first = events.get_final_response()
    (call,) = first.output
    assert call.type == "function_call"
    assert call.parsed_arguments == Answer(a=1)
    conversation += first.output
    conversation += [
        {"type": "function_call_output", "call_id": call.call_id, "output": "5"},
        {"role": "user", "content": "echo: five"},
    ]
    second = sdk.responses.parse(model="demo", input=conversation, tools=tools)
    assert second.output_text == "five "
    roles = [message["role"] for message in fake.requests[-1].messages]
    assert roles == ["user", "assistant", "tool", "user"]


def test_the_sdk_raises_on_a_failure_in_the_middle(sdk: OpenAI) -> None:
    with pytest.raises(openai.APIError, match="the engine failed"):
        list(sdk.responses.create(model="demo", input="echo: a FAIL", stream=True))
