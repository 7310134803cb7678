"""Turns of an upstream whose chat completions are made up by respx."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import respx

from ixmodal import Limits, Model
from ixmodal.engine.request import SamplingParams, TokenLogprob, Usage
from ixmodal.errors import BusyError, ContextLengthError, EngineNotReadyError, UpstreamError
from ixmodal.server.errors import HTTPError
from ixmodal.server.turns import ReasoningDelta, TextDelta, ToolCallDelta, TurnEnd, TurnEvent, TurnRequest, TurnStarted
from ixmodal.server.upstream.turns import ask_upstream, overflowing
from ixmodal.upstreams.client import UpstreamClient

URL = "https://big.example.com/v1"
CHAT = f"{URL}/chat/completions"
REQUEST = TurnRequest([{"role": "user", "content": "hi"}], SamplingParams())
EVENT_STREAM = {"content-type": "text/event-stream"}
NO_RETRY = {"x-should-retry": "false"}


def delta(reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


def usage(prompt: int, completion: int) -> dict[str, Any]:
    details = {"prompt_tokens_details": {"cached_tokens": 2}}
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **details}}


def streamed(*chunks: Any, done: bool = True) -> httpx.Response:
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"] * done
    return httpx.Response(200, content="".join(lines).encode(), headers=EVENT_STREAM)


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    made = UpstreamClient(Model("big", upstream=URL), Limits(), 0)
    yield made
    assert made.admission.busy == 0
    await made.close()


async def turn(client: UpstreamClient) -> list[TurnEvent]:
    return [event async for event in ask_upstream(client, REQUEST)]


async def test_text_and_usage(client: UpstreamClient, respx_mock: respx.MockRouter) -> None:
    head = delta(role="assistant", content="")
    route = respx_mock.post(CHAT).mock(
        return_value=streamed(head, delta(content="He"), delta(content="llo"), delta("stop"), usage(7, 3))
    )
    assert await turn(client) == [
        TurnStarted(Usage()),
        TextDelta("He"),
        TextDelta("llo"),
        TurnEnd("stop", Usage(7, 3, 2)),
    ]
    assert json.loads(route.calls.last.request.content)["model"] == "big"


async def test_thoughts_and_log_probabilities(client: UpstreamClient, respx_mock: respx.MockRouter) -> None:
    entry = {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": [{"token": "x", "logprob": -1}]}
    text = {"choices": [{"delta": {"content": "é"}, "logprobs": {"content": [entry]}, "finish_reason": "length"}]}
    respx_mock.post(CHAT).mock(return_value=streamed(delta(reasoning_content="hm"), text))
    logprob = TokenLogprob(-1, "é".encode(), -0.5, (TokenLogprob(-1, b"x", -1.0),))
    assert (await turn(client))[1:] == [ReasoningDelta("hm"), TextDelta("é", (logprob,)), TurnEnd("length", Usage())]


async def test_calls_in_pieces_and_whole(client: UpstreamClient, respx_mock: respx.MockRouter) -> None:
    first = {"index": 0, "id": "call_a", "type": "function", "function": {"name": "f", "arguments": ""}}
    more = [{"index": 0, "function": {"arguments": part}} for part in ('{"x"', ": 1}")]
    whole = {"index": 1, "id": "call_b", "function": {"name": "g", "arguments": "{}"}}
    respx_mock.post(CHAT).mock(
        return_value=streamed(*(delta(tool_calls=[call]) for call in (first, *more, whole)), delta("stop"))
    )
    assert (await turn(client))[1:] == [
        ToolCallDelta(0, id="call_a", name="f"),
        ToolCallDelta(0, '{"x"'),
        ToolCallDelta(0, ": 1}"),
        ToolCallDelta(1, id="call_b", name="g"),
        ToolCallDelta(1, "{}"),
        TurnEnd("tool_calls", Usage()),
    ]


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (streamed(delta(content="a")), "ended its stream before it was done"),
        (streamed(delta(content="a"), delta("stop"), done=False), "ended its stream before it was done"),
        (streamed(delta(content="a"), {"error": {"message": "it died", "code": "x"}}), "broke off its answer: it died"),
        (streamed(delta(content="a"), delta("content_filter")), "for the reason content_filter"),
        (streamed([1]), "can't be read"),
        (streamed(delta(tool_calls=[{"index": 0, "function": {}}])), "can't be read"),
        (streamed({"usage": {"a": 1}}), "can't be read"),
        (httpx.Response(200, content=b"data: {\n\n", headers=EVENT_STREAM), "not JSON"),
        (httpx.Response(200, json={"choices": []}), "does not stream"),
    ],
)
async def test_answers_that_break(
    client: UpstreamClient, respx_mock: respx.MockRouter, response: httpx.Response, words: str
) -> None:
    respx_mock.post(CHAT).mock(return_value=response)
    with pytest.raises(UpstreamError, match=f"The upstream of big .*{words}"):
        await turn(client)


async def test_refusals_keep_what_they_mean(client: UpstreamClient, respx_mock: respx.MockRouter) -> None:
    def refuse(status: int, code: str | None, headers: dict[str, str] | None = None) -> None:
        error = {"message": "no", "type": "t", "param": "messages", "code": code}
        respx_mock.post(CHAT).respond(status, json={"error": error}, headers={**NO_RETRY, **(headers or {})})

    refuse(400, "context_length_exceeded")
    with pytest.raises(ContextLengthError, match="The upstream of big: no") as too_long:
        await turn(client)
    assert too_long.value.param == "messages"
    refuse(429, "server_busy", {"retry-after": "7"})
    with pytest.raises(BusyError) as busy:
        await turn(client)
    assert busy.value.retry_after == 7
    refuse(401, "invalid_api_key")
    with pytest.raises(HTTPError, match="The upstream of big: no") as refused:
        await turn(client)
    assert (refused.value.status, refused.value.body["error"]["code"]) == (401, "invalid_api_key")
    assert refused.value.headers == NO_RETRY


async def test_a_turn_overflows_once_and_only_before_it_began() -> None:
    def script(*events: TurnEvent, error: Exception | None = None) -> Any:
        async def run(_request: TurnRequest) -> AsyncIterator[TurnEvent]:
            for event in events:
                yield event
            if error:
                raise error

        return run

    async def run(first: Any, second: Any) -> list[TurnEvent]:
        return [event async for event in overflowing(first, second, REQUEST)]

    here, there = TextDelta("here"), TextDelta("there")
    busy = BusyError("full.", retry_after=3)
    assert await run(script(here), script(there)) == [here]
    assert await run(script(error=busy), script(there)) == [there]
    assert await run(script(error=EngineNotReadyError("loading.")), script(there)) == [there]
    with pytest.raises(EngineNotReadyError):
        await run(script(here, error=EngineNotReadyError("gone.")), script(there))
    with pytest.raises(BusyError, match=r"full\. And where it overflows to: it is away") as both:
        await run(script(error=busy), script(error=UpstreamError("it is away")))
    assert both.value.retry_after == 3
    with pytest.raises(UpstreamError, match="cut"):
        await run(script(error=BusyError("full.", retry_after=3)), script(there, error=UpstreamError("cut")))
