"""Tools through the real client: asked for by the shipped model, forced on any."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 30}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
TIME: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "set_timer",
        "parameters": {
            "type": "object",
            "properties": {"minutes": {"type": "integer", "minimum": 1, "maximum": 60}},
            "required": ["minutes"],
            "additionalProperties": False,
        },
    },
}
ASK = [{"role": "user", "content": "What is the weather in Paris?"}]


def ask(client: OpenAI, messages: Any = ASK, **fields: Any) -> Any:
    fields = {"temperature": 0, "tools": [WEATHER], "max_tokens": 200, **fields}
    return client.chat.completions.create(model="demo", messages=messages, **fields)


def test_the_shipped_model_calls_a_tool_and_uses_its_result(client: OpenAI) -> None:
    choice = ask(client).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    [call] = choice.message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    answer = ask(client, [*ASK, choice.message.model_dump(exclude_none=True, exclude={"refusal"}), result]).choices[0]
    assert answer.finish_reason == "stop"
    assert "sunny" in answer.message.content


def test_a_call_streams_as_deltas(client: OpenAI) -> None:
    deltas = [chunk.choices[0].delta for chunk in ask(client, stream=True)]
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    assert (calls[0].id, calls[0].type, calls[0].function.name) == (calls[0].id, "function", "get_weather")
    assert calls[0].function.arguments == ""
    assert all(call.id is None and call.function.name is None for call in calls[1:])
    assert json.loads("".join(call.function.arguments for call in calls)) == {"city": "Paris"}
    assert not "".join(delta.content or "" for delta in deltas)


def test_a_question_that_needs_no_tool_is_answered(client: OpenAI) -> None:
    choice = ask(client, [{"role": "user", "content": "What is the capital of France?"}]).choices[0]
    assert choice.finish_reason == "stop"
    assert choice.message.tool_calls is None
    assert "Paris" in choice.message.content


@pytest.mark.parametrize("seed", range(4))
def test_required_forces_a_call_of_one_of_the_tools(client: OpenAI, seed: int) -> None:
    hello = [{"role": "user", "content": "Hello"}]
    choice = ask(
        client,
        hello,
        tools=[WEATHER, TIME],
        tool_choice="required",
        temperature=1.5,
        seed=seed,
        parallel_tool_calls=False,
    ).choices[0]
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    arguments = json.loads(call.function.arguments)
    if call.function.name == "set_timer":
        assert 1 <= arguments["minutes"] <= 60
    else:
        assert (call.function.name, set(arguments)) == ("get_weather", {"city"})


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_forced_call_is_the_one_that_the_model_makes_freely(client: OpenAI, choice: Any) -> None:
    """Forced text in other tokens than the model's own would lead it astray: see `engine.constraints`."""
    forced = ask(client, tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False).choices[0]
    assert json.loads(forced.message.tool_calls[0].function.arguments) == {"city": "Paris"}


def test_named_forces_that_one(client: OpenAI) -> None:
    choice = ask(
        client, tools=[WEATHER, TIME], tool_choice={"type": "function", "function": {"name": "set_timer"}}
    ).choices[0]
    assert [call.function.name for call in choice.message.tool_calls] == ["set_timer"]


def test_allowed_tools_narrow_the_choice(client: OpenAI) -> None:
    only_time = {"mode": "required", "tools": [{"type": "function", "function": {"name": "set_timer"}}]}
    choice = ask(
        client, tools=[WEATHER, TIME], tool_choice={"type": "allowed_tools", "allowed_tools": only_time}
    ).choices[0]
    assert {call.function.name for call in choice.message.tool_calls} == {"set_timer"}


def test_none_forbids_calls(client: OpenAI) -> None:
    choice = ask(client, tool_choice="none").choices[0]
    assert choice.message.tool_calls is None
    assert choice.message.content


def strict(**city: Any) -> dict[str, Any]:
    parameters = {**WEATHER["function"]["parameters"], "properties": {"city": {"type": "string", **city}}}
    return {"type": "function", "function": {**WEATHER["function"], "parameters": parameters, "strict": True}}


def test_a_free_call_of_a_strict_tool_conforms(client: OpenAI) -> None:
    loose = strict(enum=["Oslo", "Rome"])
    loose["function"]["strict"] = False
    [call] = ask(client, tools=[loose]).choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    choice = ask(client, tools=[strict(enum=["Oslo", "Rome"])]).choices[0]
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert json.loads(call.function.arguments)["city"] in ("Oslo", "Rome")
    flat = {"type": "function", "strict": True, **strict(enum=["Oslo", "Rome"])["function"]}
    response = client.responses.create(model="demo", input=ASK[0]["content"], temperature=0, tools=[flat])
    [item] = [item for item in response.output if item.type == "function_call"]
    assert json.loads(item.arguments)["city"] in ("Oslo", "Rome")


def test_beside_a_strict_tool_text_is_free(client: OpenAI) -> None:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    free, held = (ask(client, question, tools=[tool]).choices[0].message.content for tool in (WEATHER, strict()))
    assert free == held
    assert "Paris" in held


def test_a_strict_schema_that_cant_be_held_to_is_refused_by_name(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="not") as caught:
        ask(client, tools=[strict(**{"not": {"const": "Oslo"}})])
    assert caught.value.param == "tools"


def test_a_choice_of_what_is_not_there_is_refused(client: OpenAI) -> None:
    with pytest.raises(Exception, match="nothing_like_it"):
        ask(client, tool_choice={"type": "function", "function": {"name": "nothing_like_it"}})
