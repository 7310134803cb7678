"""LangChain, pydantic-ai, openai-agents and instructor, unchanged, over the model that ships."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import agents
import instructor
import pytest
from agents.models.openai_chatcompletions import OpenAIChatCompletionsModel
from agents.models.openai_responses import OpenAIResponsesModel
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.openai import OpenAIResponsesModel as PydanticResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.support.server import Server

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
WEATHER_QUESTION = "What is the weather in Paris?"


class Capital(BaseModel):
    """The capital of a country."""

    capital: Literal["Berlin", "Paris", "Rome"]
    sure: bool


class get_weather(BaseModel):  # noqa: N801  # the name that the model knows
    """Get the weather in a city"""

    city: str


@pytest.fixture
def base_url(demo: Server) -> str:
    return f"{demo.url}/v1"


@pytest.fixture
async def openai_client(base_url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        yield client


class TestLangChain:
    @pytest.fixture(params=[False, True], ids=["chat", "responses"])
    def model(self, base_url: str, request: pytest.FixtureRequest) -> ChatOpenAI:
        return ChatOpenAI(
            base_url=base_url,
            api_key="none",
            model="demo",
            temperature=0,
            max_retries=0,
            use_responses_api=request.param,
        )

    def test_invoke_and_stream(self, model: ChatOpenAI) -> None:
        whole = model.invoke(QUESTION)
        assert whole.text == ANSWER
        assert whole.usage_metadata
        assert whole.usage_metadata["output_tokens"] > 3
        assert "".join(chunk.text for chunk in model.stream(QUESTION)) == ANSWER

    def test_tools(self, model: ChatOpenAI) -> None:
        @tool
        def get_weather(city: str) -> str:
            """Get the weather in a city"""
            return f"purple rain in {city}"

        bound = model.bind_tools([get_weather])
        messages: list[Any] = [HumanMessage(WEATHER_QUESTION)]
        asked = bound.invoke(messages)
        [call] = asked.tool_calls
        assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
        answer = bound.invoke(
            [*messages, asked, ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])]
        )
        assert "purple rain" in answer.text
        streamed = AIMessageChunk("")
        for chunk in bound.stream(messages):
            streamed += chunk  # type: ignore[assignment]  # LangChain types the sum as a message of any kind
        assert streamed.tool_calls[0]["args"] == {"city": "Paris"}
        forced = model.bind_tools([get_weather], tool_choice="get_weather").invoke(messages)
        assert forced.tool_calls[0]["args"] == {"city": "Paris"}

    async def test_async(self, base_url: str) -> None:
        # One test: LangChain keeps its connections for the next, which has another event loop.
        for responses in (False, True):
            model = ChatOpenAI(
                base_url=base_url, api_key="none", model="demo", temperature=0, use_responses_api=responses
            )
            answers = await asyncio.gather(*(model.ainvoke(QUESTION) for _ in range(4)))
            assert [answer.text for answer in answers] == [ANSWER] * 4
            assert "".join([chunk.text async for chunk in model.astream(QUESTION)]) == ANSWER

    @pytest.mark.parametrize("method", ["json_schema", "function_calling"])
    def test_structured_output(self, model: ChatOpenAI, method: Literal["json_schema", "function_calling"]) -> None:
        assert isinstance(model.with_structured_output(Capital, method=method).invoke(QUESTION), Capital)

    def test_embeddings(self, base_url: str) -> None:
        plain = OpenAIEmbeddings(base_url=base_url, api_key="none", model="demo", check_embedding_ctx_length=False)
        vectors = plain.embed_documents([QUESTION, ANSWER])
        assert plain.embed_query(ANSWER) == pytest.approx(vectors[1], abs=1e-4)
        assert sum(value * value for value in vectors[0]) == pytest.approx(1, abs=1e-4)


class TestPydanticAI:
    @pytest.fixture(params=[OpenAIChatModel, PydanticResponsesModel])
    def model(self, openai_client: AsyncOpenAI, request: pytest.FixtureRequest) -> Any:
        return request.param("demo", provider=OpenAIProvider(openai_client=openai_client))

    async def test_an_agent_with_a_tool(self, model: Any) -> None:
        agent = Agent(model, model_settings={"temperature": 0})
        called = []

        @agent.tool_plain
        def get_weather(city: str) -> str:
            """Get the weather in a city"""
            called.append(city)
            return "purple rain"

        result = await agent.run(WEATHER_QUESTION)
        assert called == ["Paris"]
        assert "purple rain" in result.output
        assert result.usage.requests == 2
        async with agent.run_stream(QUESTION) as stream:
            assert [text async for text in stream.stream_text(debounce_by=None)][-1] == ANSWER

    @pytest.mark.parametrize("output", [Capital, NativeOutput(Capital)], ids=["tool", "native"])
    async def test_a_structured_result(self, model: Any, output: Any) -> None:
        agent = Agent(model, output_type=output, model_settings={"temperature": 0})
        assert isinstance((await agent.run(QUESTION)).output, Capital)


class TestOpenAIAgents:
    @pytest.fixture(params=[OpenAIChatCompletionsModel, OpenAIResponsesModel])
    def model(self, openai_client: AsyncOpenAI, request: pytest.FixtureRequest) -> Iterator[Any]:
        agents.set_tracing_disabled(disabled=True)
        yield request.param(model="demo", openai_client=openai_client)
        agents.set_tracing_disabled(disabled=False)

    async def test_a_run_with_a_tool(self, model: Any) -> None:
        called = []

        @agents.function_tool
        def get_weather(city: str) -> str:
            """Get the weather in a city"""
            called.append(city)
            return "purple rain"

        settings = agents.ModelSettings(temperature=0)
        agent: Any = agents.Agent(name="Weather", model=model, tools=[get_weather], model_settings=settings)
        result = await agents.Runner.run(agent, WEATHER_QUESTION)
        assert called == ["Paris"]
        assert "purple rain" in result.final_output
        streamed = agents.Runner.run_streamed(agent, WEATHER_QUESTION)
        kinds = [event.type async for event in streamed.stream_events()]
        assert {"raw_response_event", "run_item_stream_event"} <= set(kinds)
        assert called == ["Paris", "Paris"]
        assert "purple rain" in streamed.final_output

    async def test_a_structured_result(self, model: Any) -> None:
        settings = agents.ModelSettings(temperature=0)
        agent: Any = agents.Agent(name="Facts", model=model, output_type=Capital, model_settings=settings)
        assert isinstance((await agents.Runner.run(agent, QUESTION)).final_output, Capital)


class TestInstructor:
    def test_tools(self, base_url: str) -> None:
        assert ask_instructor(base_url, instructor.Mode.TOOLS, get_weather, WEATHER_QUESTION).city == "Paris"

    def test_json_schema(self, base_url: str) -> None:
        assert isinstance(ask_instructor(base_url, instructor.Mode.JSON_SCHEMA, Capital, QUESTION), Capital)

    def test_json(self, scripted: Server) -> None:
        # This mode asks for any JSON object and has the schema in the prompt: the shipped model can't follow that.
        said = 'say:{"capital": "Paris", "sure": true}'
        found = ask_instructor(f"{scripted.url}/v1", instructor.Mode.JSON, Capital, said)
        assert isinstance(found, Capital)
        assert found.model_dump() == {"capital": "Paris", "sure": True}


def ask_instructor(base_url: str, mode: instructor.Mode, kind: type[BaseModel], question: str) -> Any:
    """What instructor makes of the answer."""
    with OpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        return instructor.from_openai(client, mode=mode).chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": question}],
            temperature=0,
            max_tokens=200,
            max_retries=0,
            response_model=kind,
        )
