from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel
from starlette.testclient import TestClient

from tests.server.test_responses_app import Fake, serving

FUNCTION: dict[str, Any] = {
    "type": "function",
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": False,
}


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


def test_a_stream_of_text_in_exact_order(http: TestClient) -> None:
    events = stream(http, input="echo: a b")
    assert types(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    created, in_progress, added, part_added, delta, _, done, part_done, item_done, completed = events
    assert created["response"]["status"] == in_progress["response"]["status"] == "in_progress"
    assert created["response"]["output"] == []
    id = added["item"]["id"]
    assert added["item"] == {
        "id": id,
        "type": "message",
        "role": "assistant",
        "status": "in_progress",
        "content": [],
    }
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    where = {"item_id": id, "output_index": 0, "content_index": 0}
    assert part_added == {**where, "type": "response.content_part.added", "sequence_number": 3, "part": empty}
    kind = {"type": "response.output_text.delta", "sequence_number": 4}
    assert delta == {**where, **kind, "delta": "a ", "logprobs": []}
    assert done == {
        **where,
        "type": "response.output_text.done",
        "sequence_number": 6,
        "text": "a b ",
        "logprobs": [],
    }
    assert part_done["part"] == {**empty, "text": "a b "}
    assert completed["response"]["output"] == [item_done["item"]]
    assert {event["response"]["id"] for event in (created, in_progress, completed)} == {created["response"]["id"]}


def test_reasoning_comes_before_the_message(http: TestClient) -> None:
    events = stream(http, input="think: so")
    assert types(events)[2:10] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
    ]
    reasoning, message = events[-1]["response"]["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "let me see"}]
    assert (reasoning["type"], reasoning["summary"], reasoning["status"]) == ("reasoning", [], "completed")
    assert message["content"][0]["text"] == "so "
    assert [event["output_index"] for event in events if "output_index" in event] == [0] * 7 + [1] * 6


def test_calls_in_exact_order(http: TestClient) -> None:
    other = {**FUNCTION, "name": "sub"}
    events = stream(http, input="call: add sub", tools=[FUNCTION, other])
    one_call = [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert types(events) == ["created", "in_progress", *one_call, *one_call, "completed"]
    added, _, delta, done, item_done = events[2:7]
    assert added["item"]["arguments"] == ""
    assert added["item"]["status"] == "in_progress"
    assert delta["delta"] == " 1}"
    assert (done["name"], done["arguments"], done["item_id"]) == ("add", '{"a": 1}', added["item"]["id"])
    assert item_done["item"] == {
        "id": added["item"]["id"],
        "type": "function_call",
        "call_id": "call_0",
        "name": "add",
        "arguments": '{"a": 1}',
        "status": "completed",
    }
    assert [item["name"] for item in events[-1]["response"]["output"]] == ["add", "sub"]


def test_an_empty_answer_is_an_empty_message(http: TestClient) -> None:
    events = stream(http, input="echo:")
    assert types(events)[2:] == [
        "output_item.added",
        "content_part.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


def test_an_answer_that_was_cut_is_incomplete(http: TestClient) -> None:
    last = stream(http, input="cut: a")[-1]
    assert last["type"] == "response.incomplete"
    response = last["response"]
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"
    assert response["completed_at"] is None


def test_a_failure_in_the_middle_is_an_error_and_a_failed_response(http: TestClient) -> None:
    events = stream(http, input="echo: a FAIL")
    assert types(events)[-5:] == ["output_text.done", "content_part.done", "output_item.done", "error", "failed"]
    envelope = {"message": "the engine failed", "type": "server_error", "param": None, "code": "engine_error"}
    flat = {"code": "engine_error", "message": "the engine failed", "param": None}
    assert events[-2] == {"type": "error", "sequence_number": len(events) - 2, **flat, "error": envelope}
    response = events[-1]["response"]
    assert response["status"] == "failed"
    assert response["error"] == {"code": "server_error", "message": "the engine failed"}
    assert response["output"][0]["status"] == "incomplete"
    assert http.get(f"/v1/responses/{response['id']}").json() == response
    whole = post(http, input="echo: a FAIL")
    assert (whole.status_code, whole.json()["error"]) == (500, envelope)


def test_what_is_unexpected_is_not_told(http: TestClient) -> None:
    events = stream(http, input="echo: a BUG")
    assert events[-1]["type"] == "response.failed"
    assert "secret" not in json.dumps(events)


def test_refusals_keep_their_status_when_streaming(http: TestClient, fake: Fake) -> None:
    fake.longest = 0
    for streaming in (True, False):
        response = post(http, input="echo: a", stream=streaming)
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
    fake.longest, fake.busy = 10, 1
    assert post(http, input="echo: a", stream=True).status_code == 429


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
    entry = response.output[0].content[0].logprobs[0]  # type: ignore[union-attr, index]
    assert (entry.token, entry.bytes, entry.logprob) == ("a ", [97, 32], -9999.0)
    assert [(top.token, top.logprob) for top in entry.top_logprobs] == [("t0", -1.0), ("t1", -2.0)]
    events = stream(http, input="echo: a", top_logprobs=1)
    delta = next(event for event in events if event["type"] == "response.output_text.delta")
    assert delta["logprobs"] == [
        {"token": "a ", "logprob": -9999.0, "top_logprobs": [{"token": "t0", "logprob": -1.0}]}
    ]


def test_fields_reach_the_turn(http: TestClient, fake: Fake) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    response = post(
        http,
        input="echo: a",
        instructions="Be.",
        temperature=0.5,
        top_p=0.25,
        max_output_tokens=20,
        presence_penalty=1,
        frequency_penalty=-1,
        seed=3,
        top_k=4,
        stop="x",
        tools=[FUNCTION],
        tool_choice={"type": "function", "name": "add"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}, "verbosity": "low"},
        reasoning={"effort": "low"},
        user="u",
    ).json()
    (request,) = fake.requests
    assert request.messages == [{"role": "system", "content": "Be."}, {"role": "user", "content": "echo: a"}]
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.seed) == (0.5, 0.25, 20, 3)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (1, -1)
    assert (sampling.top_k, sampling.stop, sampling.logprobs) == (4, ("x",), None)
    assert sampling.constraint is not None
    assert (sampling.constraint.kind, json.loads(sampling.constraint.value)) == ("json_schema", schema)
    assert (request.tool_choice.mode, request.tool_choice.name) == ("named", "add")
    assert request.parallel_tool_calls is False
    assert request.tools[0]["function"]["name"] == "add"
    assert request.tools[0]["function"]["parameters"] == FUNCTION["parameters"]
    assert response["tools"] == [FUNCTION]
    assert response["tool_choice"] == {"type": "function", "name": "add"}
    assert response["text"]["format"] == {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    assert (response["text"]["verbosity"], response["reasoning"]["effort"]) == ("low", "low")
    assert (response["temperature"], response["max_output_tokens"], response["user"]) == (0.5, 20, "u")


@pytest.mark.parametrize(
    ("choice", "mode", "allowed"),
    [
        ("none", "none", None),
        ("auto", "auto", None),
        ("required", "required", None),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "add"}]},
            "required",
            ("add",),
        ),
    ],
)
def test_tool_choices(http: TestClient, fake: Fake, choice: Any, mode: str, allowed: Any) -> None:
    response = post(http, input="echo: a", tools=[FUNCTION], tool_choice=choice)
    assert (fake.requests[0].tool_choice.mode, fake.requests[0].tool_choice.allowed) == (mode, allowed)
    assert response.json()["tool_choice"] == choice


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


BAD: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": 3}, "input"),
    ({"input": [{"role": "wizard", "content": "a"}]}, "input[0].role"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": "a", "colour": "red"}]}, "input[0].colour"),
    ({"input": [{"type": "computer_call", "id": "x"}]}, "input[0].type"),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
    ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input"),
    ({"input": [{"role": "user", "content": "a"}] * 41}, "input"),
    ({"max_output_tokens": 15}, "max_output_tokens"),
    ({"max_output_tokens": 1001}, "max_output_tokens"),
    ({"max_tokens": 20}, "max_tokens"),
    ({"n": 2}, "n"),
    ({"temperature": 2.5}, "temperature"),
    ({"top_p": -1}, "top_p"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"truncation": "maybe"}, "truncation"),
    ({"metadata": {"k": 1}}, "metadata.k"),
    ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
    ({"include": ["nothing"]}, "include[0]"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"moderation": {"model": "m"}}, "moderation"),
    ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ({"tools": [{"type": "web_search"}]}, "tools"),
    ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
    ({"tools": [FUNCTION, FUNCTION]}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": "sometimes"}, "tool_choice.type"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "sub"}}, "tool_choice"),
    ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_object"}}, "regex": "a"}, "text"),
    ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
    ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    ({"background": True, "store": False}, "store"),
    ({"previous_response_id": "resp_x"}, "previous_response_id"),
    ({"previous_response_id": "resp_x", "conversation": "conv_x"}, "previous_response_id"),
    ({"frobnicate": 1}, "frobnicate"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=lambda value: json.dumps(value)[:60])
def test_a_wrong_field_is_a_400_that_names_it(http: TestClient, fields: dict[str, Any], param: str) -> None:
    response = post(http, **{"input": "echo: a", **fields})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param, response.text
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_what_is_not_there_has_its_own_code(http: TestClient) -> None:
    missing = post(http, input="a", previous_response_id="resp_x").json()["error"]
    assert missing["code"] == "previous_response_not_found"
    assert post(http, input="a", conversation="conv_x").status_code == 404
    assert post(http, input=[{"type": "item_reference", "id": "msg_x"}]).status_code == 404
    unknown = http.post("/v1/responses", json={"model": "other", "input": "a"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


def test_null_means_unset(http: TestClient) -> None:
    names = (
        "instructions previous_response_id conversation store background stream stream_options max_output_tokens "
        "top_logprobs truncation metadata include text tools tool_choice parallel_tool_calls max_tool_calls prompt "
        "prompt_cache_key prompt_cache_retention reasoning safety_identifier service_tier user temperature top_p"
    )
    response = post(http, input="echo: a", **dict.fromkeys(names.split()))
    assert response.status_code == 200, response.text
    assert "user" not in response.json()


def test_hints_are_accepted_without_effect(http: TestClient) -> None:
    response = post(
        http,
        input="echo: a",
        service_tier="flex",
        prompt_cache_key="k",
        prompt_cache_retention="24h",
        prompt_cache_options={"ttl": "30m"},
        safety_identifier="s",
        max_tool_calls=3,
        include=["reasoning.encrypted_content"],
        reasoning={"effort": "high", "summary": "auto"},
        stream=False,
    ).json()
    assert (response["service_tier"], response["prompt_cache_key"], response["safety_identifier"]) == (
        "default",
        "k",
        "s",
    )
    assert response["max_tool_calls"] == 3


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
