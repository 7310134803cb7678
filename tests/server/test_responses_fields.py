"""Each field is honoured, accepted without effect, or refused by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.server.test_responses_app import FUNCTION, Fake, post, serving


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def http(fake: Fake) -> Iterator[TestClient]:
    with serving(fake) as (http, _):
        yield http


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
    ({"tool_choice": "sometimes"}, "tool_choice"),
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


def test_an_agents_tool_calls_are_bounded(http: TestClient, fake: Fake) -> None:
    response = post(http, input="echo: a", max_tool_calls=3).json()
    assert response["max_tool_calls"] == 3
    assert fake.requests[-1].max_tool_calls == 3
    assert post(http, input="echo: a", max_tool_calls=0).json()["error"]["param"] == "max_tool_calls"


def test_hints_are_accepted_without_effect(http: TestClient) -> None:
    response = post(
        http,
        input="echo: a",
        service_tier="flex",
        prompt_cache_key="k",
        prompt_cache_retention="24h",
        prompt_cache_options={"ttl": "30m"},
        safety_identifier="s",
        include=["reasoning.encrypted_content"],
        reasoning={"effort": "high", "summary": "auto"},
        stream=False,
    ).json()
    assert (response["service_tier"], response["prompt_cache_key"], response["safety_identifier"]) == (
        "default",
        "k",
        "s",
    )
