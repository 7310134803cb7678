from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from pydantic import TypeAdapter

from ixmodal.engine.request import Constraint, SamplingParams
from ixmodal.server.protocol.chat import ChatRequest
from ixmodal.server.turns import ToolChoice, TurnRequest
from ixmodal.server.upstream.chat_body import chat_body

USER = {"role": "user", "content": "hi"}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("a", "b")]
PLAIN = {"model": "theirs", "messages": [USER], "stream": True, "stream_options": {"include_usage": True}}


def body_of(request: TurnRequest) -> dict[str, Any]:
    """The body, checked against what this server takes itself."""
    body = chat_body(request, "theirs", 1000)
    ChatRequest.model_validate(body)
    return body


def sampled(**fields: Any) -> dict[str, Any]:
    body = body_of(TurnRequest([USER], SamplingParams(**fields)))
    return {name: value for name, value in body.items() if name not in PLAIN}


def test_what_is_neutral_is_left_out() -> None:
    body = body_of(TurnRequest([USER], SamplingParams(max_tokens=1000)))
    assert body == PLAIN
    TypeAdapter(CompletionCreateParamsStreaming).validate_python(body)


def test_sampling() -> None:
    given = {
        "max_tokens": 10,
        "min_tokens": 1,
        "temperature": 0.0,
        "top_k": 3,
        "top_p": 0.5,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "seed": 7,
        "ignore_eos": True,
        "typical_p": 0.9,
    }
    assert sampled(**given) == given


def test_sampling_with_other_forms() -> None:
    assert sampled(stop=("a", "b"), stop_token_ids=(3,), logit_bias={5: -1.0}) == {
        "stop": ["a", "b"],
        "stop_token_ids": [3],
        "logit_bias": {"5": -1.0},
    }
    assert sampled(logprobs=0) == {"logprobs": True}
    assert sampled(logprobs=2) == {"logprobs": True, "top_logprobs": 2}
    assert sampled(mirostat_tau=4.0) == {"mirostat": 2, "mirostat_tau": 4.0, "mirostat_eta": 0.1}


# Log-probabilities are tested above; `shown_control` is the engine's own, for a parser of tool calls.
NAMES = set(SamplingParams.__struct_fields__) - {"logprobs", "prompt_logprobs", "shown_control"}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_parameter_has_an_effect(name: str) -> None:
    others: dict[str, Any] = {
        "stop": ("x",),
        "stop_token_ids": (1,),
        "logit_bias": {1: 1.0},
        "ignore_eos": True,
        "constraint": Constraint("json_object"),
    }
    fields = {name: others.get(name, 1 if name in ("max_tokens", "min_tokens", "top_k", "seed") else 0.5)}
    if name == "mirostat_eta":
        fields["mirostat_tau"] = 5.0
    without = {key: value for key, value in fields.items() if key != name}
    assert sampled(**fields) != sampled(**without)


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        (Constraint("json_object"), {"response_format": {"type": "json_object"}}),
        (
            Constraint("json_schema", '{"type": "object"}'),
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
                }
            },
        ),
        (Constraint("regex", "a+", "regex"), {"regex": "a+"}),
        (Constraint("grammar", "start: x", "grammar"), {"grammar": "start: x"}),
    ],
)
def test_constraints(constraint: Constraint, fields: dict[str, Any]) -> None:
    assert sampled(constraint=constraint) == fields


@pytest.mark.parametrize(
    ("choice", "names", "shown"),
    [
        (ToolChoice(), ["a", "b"], None),
        (ToolChoice("none"), [], None),
        (ToolChoice("required"), ["a", "b"], "required"),
        (ToolChoice("required", allowed=("b",)), ["b"], "required"),
        (ToolChoice("auto", allowed=("a",)), ["a"], None),
        (ToolChoice("named", name="a"), ["a", "b"], {"type": "function", "function": {"name": "a"}}),
    ],
)
def test_tools(choice: ToolChoice, names: list[str], shown: Any) -> None:
    body = body_of(TurnRequest([USER], SamplingParams(), TOOLS, choice, parallel_tool_calls=False))
    assert [tool["function"]["name"] for tool in body.get("tools", [])] == names
    assert body.get("tool_choice") == shown
    assert body.get("parallel_tool_calls") == (False if names else None)


def test_messages_are_those_of_the_api() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "a", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "be"},
        {"role": "user", "content": "old"},
        {"role": "user", "content": "hi", "name": "Anna"},
        {"role": "assistant", "content": "", "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "content": "1", "tool_call_id": "c", "name": "a"},
    ]
    request = TurnRequest(messages, SamplingParams(), max_messages=3, truncate=True)
    body = body_of(request)
    assert body["messages"] == [
        messages[0],
        messages[2],
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_call_id": "c"},
    ]
    assert body["truncation"] == "auto"
    assert "truncation" not in body_of(replace(request, truncate=False))
