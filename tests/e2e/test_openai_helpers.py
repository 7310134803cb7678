"""The `openai` client's helpers, strict: parsed answers and calls, whole and streamed, sync and async."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import openai
import pytest
from openai import AsyncOpenAI, LengthFinishReasonError, OpenAI
from pydantic import BaseModel

from tests.e2e.test_openai_sdk import ANSWER, QUESTION
from tests.support.server import Server

WEATHER_QUESTION = "What is the weather in Paris?"


class Capital(BaseModel):
    capital: Literal["Berlin", "Paris", "Rome"]
    sure: bool


class Weather(BaseModel):
    city: str


WEATHER = openai.pydantic_function_tool(Weather, name="get_weather", description="Get the weather in a city")
RESPONSES_WEATHER: Any = {"type": "function", **WEATHER["function"]}
ASK: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": QUESTION}], "temperature": 0}
ASK_WEATHER: dict[str, Any] = {**ASK, "messages": [{"role": "user", "content": WEATHER_QUESTION}], "tools": [WEATHER]}
RESPOND: dict[str, Any] = {"model": "demo", "input": QUESTION, "temperature": 0}


@pytest.fixture
async def async_client(demo: Server) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=f"{demo.url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


def test_chat_parses_an_answer_whole_and_streamed(client: OpenAI) -> None:
    whole = client.chat.completions.parse(**ASK, response_format=Capital)
    parsed = whole.choices[0].message.parsed
    assert isinstance(parsed, Capital)
    with client.chat.completions.stream(**ASK, response_format=Capital) as stream:
        seen = [event.parsed for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed == parsed
    assert seen[-1] == parsed.model_dump()


def test_chat_says_when_what_is_to_be_parsed_was_cut(client: OpenAI) -> None:
    with pytest.raises(LengthFinishReasonError):
        client.chat.completions.parse(**ASK, response_format=Capital, max_completion_tokens=3)


def test_chat_parses_a_call_whole_and_streamed(client: OpenAI) -> None:
    whole = client.chat.completions.parse(**ASK_WEATHER)
    [call] = whole.choices[0].message.tool_calls or ()
    assert call.function.parsed_arguments == Weather(city="Paris")
    with client.chat.completions.stream(**ASK_WEATHER) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert [(event.name, event.parsed_arguments) for event in done] == [("get_weather", Weather(city="Paris"))]
    assert final.choices[0].finish_reason == "tool_calls"


def test_chat_with_raw_and_streaming_responses(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(**ASK)
    assert raw.headers["x-request-id"] == raw.request_id
    assert raw.parse().choices[0].message.content == ANSWER
    with client.chat.completions.with_streaming_response.create(**ASK) as response:
        assert json.loads(response.read())["choices"][0]["message"]["content"] == ANSWER


def test_responses_parse_an_answer_whole_and_streamed(client: OpenAI) -> None:
    whole = client.responses.parse(**RESPOND, text_format=Capital)
    assert isinstance(whole.output_parsed, Capital)
    with client.responses.stream(**RESPOND, text_format=Capital) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert final.output_parsed == whole.output_parsed
    assert Capital.model_validate_json("".join(deltas)) == whole.output_parsed


def test_responses_call_a_tool_and_use_its_result(client: OpenAI) -> None:
    fields: dict[str, Any] = {"model": "demo", "temperature": 0, "tools": [RESPONSES_WEATHER]}
    with client.responses.stream(**fields, input=WEATHER_QUESTION) as stream:
        deltas = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        asked = stream.get_final_response()
    [call] = asked.output
    assert call.type == "function_call"
    assert json.loads("".join(deltas)) == json.loads(call.arguments) == {"city": "Paris"}
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "purple rain"}
    answered = client.responses.create(**fields, input=[result], previous_response_id=asked.id)
    assert "purple rain" in answered.output_text


def test_a_conversation_keeps_what_was_said(client: OpenAI) -> None:
    conversation = client.conversations.create()
    said: dict[str, Any] = {"model": "demo", "conversation": conversation.id, "temperature": 0}
    client.responses.create(**said, input="My name is Anna.")
    assert "Anna" in client.responses.create(**said, input="What is my name?").output_text
    assert len(client.conversations.items.list(conversation.id).data) == 4
    assert client.conversations.delete(conversation.id).deleted


async def test_async_chat_helpers(async_client: AsyncOpenAI) -> None:
    parsed = await async_client.chat.completions.parse(**ASK, response_format=Capital)
    async with async_client.chat.completions.stream(**ASK, response_format=Capital) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == parsed.choices[0].message.parsed
    async with async_client.chat.completions.stream(**ASK_WEATHER) as stream:
        [call] = (await stream.get_final_completion()).choices[0].message.tool_calls or ()
    assert call.function.parsed_arguments == Weather(city="Paris")


async def test_async_responses_helpers(async_client: AsyncOpenAI) -> None:
    parsed = await async_client.responses.parse(**RESPOND, text_format=Capital)
    async with async_client.responses.stream(**RESPOND, text_format=Capital) as stream:
        assert (await stream.get_final_response()).output_parsed == parsed.output_parsed
    conversation = await async_client.conversations.create()
    answer = await async_client.responses.create(**RESPOND, conversation=conversation.id)
    assert answer.output_text == ANSWER
    assert [item.type async for item in async_client.conversations.items.list(conversation.id)] == ["message"] * 2


async def test_async_embeddings_and_models(async_client: AsyncOpenAI) -> None:
    found = await async_client.embeddings.create(model="demo", input=[QUESTION, ANSWER], encoding_format="float")
    assert [item.index for item in found.data] == [0, 1]
    assert [model.id async for model in async_client.models.list()] == ["demo"]
