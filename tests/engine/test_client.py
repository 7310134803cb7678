from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from ixmodal.engine.client import EngineClient
from ixmodal.engine.messages import Load
from ixmodal.engine.request import (
    ChatPrompt,
    FinishReason,
    GenerationRequest,
    Output,
    SamplingParams,
    TextPrompt,
    TokenPrompt,
)
from ixmodal.engine.supervisor import EngineState
from ixmodal.errors import (
    BusyError,
    ContextLengthError,
    DeadlineError,
    EngineDeadError,
    EngineError,
    EngineNotReadyError,
    InvalidRequestError,
)
from ixmodal.spec import Limits
from tests.engine.helpers import PATIENCE, until


@pytest.fixture(autouse=True)
def quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ixmodal.engine.supervisor._FIRST_BACKOFF", 0.001)
    monkeypatch.setattr("ixmodal.engine.process._EXIT_GRACE", 0.2)


class Clients:
    """Makes clients and stops them."""

    def __init__(self) -> None:
        self.made: list[EngineClient] = []

    async def __call__(
        self, path: str = "scripted", slots: int = 1, max_queued: int = 8, **limits: Any
    ) -> EngineClient:
        load = Load(backend="scripted", path=path, slots=slots, batch_size=16, threads=1)
        client = EngineClient(slots, Limits(**limits), max_queued)
        self.made.append(client)
        client.open(load).start()
        return client


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    made = Clients()
    yield made
    for client in made.made:
        await asyncio.wait_for(client.close(), PATIENCE)


def ask(prompt: str, **sampling: Any) -> GenerationRequest:
    return GenerationRequest(TextPrompt(prompt), SamplingParams(temperature=0.0, **sampling))


async def outputs(client: EngineClient, request: GenerationRequest) -> list[Output]:
    async with asyncio.timeout(PATIENCE), aclosing(client.generate(request)) as answer:
        return [output async for output in answer]


async def text(client: EngineClient, prompt: str) -> str:
    return "".join(output.text for output in await outputs(client, ask(prompt)))


async def test_the_first_output_tells_the_prompt_and_the_last_the_reason(clients: Clients) -> None:
    client = await clients()
    found = await outputs(client, ask("say:hello|"))
    assert (found[0].text, found[0].usage.prompt_tokens, found[0].finish_reason) == ("", 11, None)
    assert "".join(output.text for output in found) == "hello"
    assert found[-1].finish_reason is FinishReason.STOP
    assert found[-1].usage.completion_tokens == 6
    assert (client.requests, client.tokens) == (1, 6)


async def test_a_chat_is_rendered_by_the_models_template(clients: Clients) -> None:
    chat = ChatPrompt([{"role": "user", "content": "say:hi </s>"}])
    found = await outputs(await clients(), GenerationRequest(chat, SamplingParams(temperature=0.0)))
    assert "".join(output.text for output in found) == "hi </s>"


async def test_requests_wait_their_turn_and_all_are_answered(clients: Clients) -> None:
    client = await clients(slots=2, max_queued=20)
    words = [f"word-{number}" for number in range(15)]
    assert await asyncio.gather(*(text(client, f"say:{word}|") for word in words)) == words
    assert (client.admission.busy, client.admission.queued) == (0, 0)


async def test_a_full_queue_is_busy(clients: Clients) -> None:
    client = await clients(max_queued=0)
    async with aclosing(client.generate(ask("!forever say:a|"))) as running:
        await anext(running)
        with pytest.raises(BusyError):
            await text(client, "say:b|")
    assert await text(client, "say:c|") == "c"


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (GenerationRequest(TokenPrompt([9999])), InvalidRequestError),
        (GenerationRequest(TokenPrompt([1] * 5000)), ContextLengthError),
        (ask("a\ud800|"), InvalidRequestError),
    ],
)
async def test_refusals_come_before_any_output(
    clients: Clients, request_: GenerationRequest, kind: type[Exception]
) -> None:
    client = await clients()
    with pytest.raises(kind):
        await outputs(client, request_)
    assert client.admission.busy == 0


async def test_closing_the_answer_frees_the_slot(clients: Clients) -> None:
    client = await clients()
    for word in ("first", "second"):
        answer = client.generate(ask(f"!forever say:{word}|", max_tokens=100_000))
        await anext(answer)
        await anext(answer)
        await answer.aclose()
        assert client.admission.busy == 0
    assert await text(client, "say:free|") == "free"


async def test_a_caller_that_is_cancelled_frees_the_slot(clients: Clients) -> None:
    client = await clients()
    caller = asyncio.create_task(outputs(client, ask("!forever say:a|", max_tokens=100_000)))
    waiter = asyncio.create_task(text(client, "say:next|"))
    await until(lambda: client.tokens)
    caller.cancel()
    assert await asyncio.wait_for(waiter, PATIENCE) == "next"


async def test_a_request_that_had_sent_nothing_is_tried_once_more(clients: Clients) -> None:
    client = await clients(max_restarts=5)
    answer = client.generate(ask("!slow=0.05 say:retried|"))
    first = await anext(answer)
    assert first.text == ""
    pid = client.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE):
        rest = [output async for output in answer]
    assert "".join(output.text for output in rest) == "retried"
    assert client.restarts == 1


async def test_a_request_whose_text_was_seen_is_not_tried_again(clients: Clients) -> None:
    client = await clients()
    with pytest.raises(EngineDeadError, match="SIGSEGV"):
        await outputs(client, ask("!crash-after=2 say:abcdef|"))
    assert client.restarts <= 1
    assert await text(client, "say:well|") == "well"


async def test_a_request_that_kills_every_engine_is_tried_twice_and_no_more(clients: Clients) -> None:
    client = await clients(max_restarts=5)
    with pytest.raises(EngineDeadError):
        await outputs(client, ask("!crash|"))
    assert await text(client, "say:well|") == "well"
    assert client.restarts == 2


async def test_what_was_queued_survives_a_death(clients: Clients) -> None:
    client = await clients(max_restarts=5)
    async with aclosing(client.generate(ask("!forever say:a|", max_tokens=100_000))) as running:
        while not (await anext(running)).text:
            pass
        queued = asyncio.create_task(text(client, "say:queued|"))
        await until(lambda: client.admission.queued)
        pid = client.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineDeadError):
            [output async for output in running]
    assert await asyncio.wait_for(queued, PATIENCE) == "queued"


async def test_a_failure_of_the_model_is_an_error_and_no_death(clients: Clients) -> None:
    client = await clients()
    for order in ("!fail", "!nan"):
        with pytest.raises(EngineError) as caught:
            await outputs(client, ask(f"{order} say:a|"))
        assert type(caught.value) is EngineError
    assert await text(client, "say:well|") == "well"
    assert client.restarts == 0


async def test_a_request_has_a_deadline(clients: Clients) -> None:
    client = await clients(request_timeout=1.0)
    assert client.supervisor
    await client.supervisor.wait_ready()
    with pytest.raises(DeadlineError, match="longer than 1 seconds"):
        await outputs(client, ask("!slow=0.05 !forever say:a|", max_tokens=4000))
    assert client.admission.busy == 0
    assert await text(client, "say:next|") == "next"  # the engine was told as well: it has one slot


async def test_waiting_for_an_engine_that_still_loads_has_an_end(clients: Clients) -> None:
    client = await clients("!hang-load", queue_timeout=0.05)
    with pytest.raises(EngineNotReadyError, match="still loading"):
        await text(client, "say:a|")
    assert (client.state, client.model) == (EngineState.LOADING, None)


async def test_a_model_that_failed_says_why(clients: Clients) -> None:
    client = await clients("!fail-load")
    with pytest.raises(Exception, match="the script says"):
        await text(client, "say:a|")
    assert client.state is EngineState.FAILED
