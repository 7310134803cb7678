"""What a real server counts of what the real client does: answers, streams, errors, hang-ups, a dead engine."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from openai import OpenAI

from ixmodal.server.telemetry import names
from tests.support.metrics import Reading
from tests.support.server import SCRIPTED, Server, serve, wait_for

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    spec = '{"models": [{"id": "demo", "slots": 2}], "endpoint": {"max_queued": 1}}'
    with serve(SCRIPTED, {"IXMODAL_SPEC": spec}) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(client: OpenAI, text: str, **more: object) -> object:
    return client.chat.completions.create(  # type: ignore[call-overload]  # fields as each test needs them
        model="demo", messages=[{"role": "user", "content": text}], **more
    )


def requests(server: Server, outcome: str, endpoint: str = CHAT, model: str = "demo") -> float:
    return Reading.of(server.url).sum(names.REQUESTS, model=model, endpoint=endpoint, outcome=outcome)


def test_every_metric_of_the_list_is_there_and_no_other_of_ours(server: Server, client: OpenAI) -> None:
    ask(client, "say:four")
    shown = Reading.of(server.url)
    assert {name for name in shown.names if name.startswith("ixmodal_")} == set(names.ALL)
    assert {*names.VLLM, names.VLLM_SUCCESS, *names.LLAMA_CPP, *names.LLAMA_CPP_SPEEDS} <= shown.names


def test_an_answer_is_counted_with_its_tokens_and_times(server: Server, client: OpenAI) -> None:
    before = Reading.of(server.url)
    answer = ask(client, "say:four !slow=0.01")
    after = Reading.of(server.url)

    def grown(name: str, **labels: str) -> float:
        return after.sum(name, **labels) - before.sum(name, **labels)

    usage = answer.usage  # type: ignore[attr-defined]  # a ChatCompletion
    tokens = usage.completion_tokens
    assert grown(names.REQUESTS, endpoint=CHAT, outcome="stop") == 1
    assert grown(names.GENERATED_TOKENS, model="demo") == tokens
    assert grown(names.PROMPT_TOKENS, model="demo") == usage.prompt_tokens
    for name in names.HISTOGRAMS:
        count = tokens - 1 if name == names.INTER_TOKEN_SECONDS else 1
        assert grown(f"{name}_count", model="demo") == count, name
    parts = sum(grown(f"{name}_sum") for name in (names.QUEUE_SECONDS, names.PREFILL_SECONDS, names.DECODE_SECONDS))
    assert 0.01 * tokens < parts < grown(f"{names.E2E_SECONDS}_sum")
    assert grown(f"{names.INTER_TOKEN_SECONDS}_sum") == pytest.approx(grown(f"{names.DECODE_SECONDS}_sum"))
    assert grown("vllm:generation_tokens_total", model_name="demo") == tokens
    assert grown("vllm:request_success_total", model_name="demo", finished_reason="stop") == 1
    assert grown("llamacpp:tokens_predicted_total", model="demo") == tokens


def test_what_the_cache_spares_is_counted(server: Server, client: OpenAI) -> None:
    ask(client, "a long question that is asked twice say:x")
    before = Reading.of(server.url).sum(names.CACHED_TOKENS, model="demo")
    answer = ask(client, "a long question that is asked twice say:x")
    cached = answer.usage.prompt_tokens_details.cached_tokens  # type: ignore[attr-defined]  # a ChatCompletion
    assert cached > 0
    assert Reading.of(server.url).sum(names.CACHED_TOKENS, model="demo") - before == cached


def test_errors_are_counted_by_their_code(server: Server, client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        ask(client, "say:x", temperature=9)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")
    with pytest.raises(openai.InternalServerError):
        ask(client, "say:x !fail")
    with pytest.raises(openai.APIError):
        list(ask(client, "say:x !fail", stream=True))  # type: ignore[call-overload]  # a stream
    assert httpx.get(f"{server.url}/no/such/path").status_code == 404
    assert requests(server, "invalid_value", model="") >= 1
    assert requests(server, "model_not_found", endpoint="/v1/models/{model:path}", model="") == 1
    assert requests(server, "engine_error") == 2
    assert requests(server, "unknown_url", endpoint="", model="") == 1


def test_running_and_waiting_show_while_they_last_and_hang_ups_are_cancels(server: Server, client: OpenAI) -> None:
    before = requests(server, "cancelled")
    with httpx.Client(timeout=30) as http:
        body = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "say:x !forever !slow=0.01"}]}
        streams = [http.stream("POST", f"{server.url}{CHAT}", json=body) for _ in range(2)]
        for stream in streams:
            stream.__enter__()
        running = Reading.of(server.url)
        assert running.sum(names.RUNNING, model="demo") == running.sum(names.SLOTS_BUSY, model="demo") == 2
        assert running.sum(names.SLOTS, model="demo") == 2
        assert 0 < running.sum(names.KV_CACHE_USAGE, model="demo") < 1
        assert running.sum(names.MODEL_STATE, state="ready") == 1
        slots = httpx.get(f"{server.url}/slots").json()["data"]
        assert [slot["is_processing"] for slot in slots] == [True, True]
        assert all(slot["prompt_tokens"] > 0 and slot["request_id"].startswith("req_") for slot in slots)
        for stream in streams:
            stream.__exit__(None, None, None)
    wait_for(lambda: requests(server, "cancelled") == before + 2, 10)
    assert Reading.of(server.url).sum(names.CANCELS, model="demo") == before + 2
    wait_for(lambda: Reading.of(server.url).sum(names.RUNNING) == 0, 10)
    assert not any(slot["is_processing"] for slot in httpx.get(f"{server.url}/slots").json()["data"])


def test_waiting_is_shown_and_a_full_queue_counted(server: Server, client: OpenAI) -> None:
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(ask, client, "say:long answer !slow=0.05") for _ in range(3)]
        wait_for(lambda: Reading.of(server.url).sum(names.WAITING, model="demo") == 1, 10)
        with pytest.raises(openai.RateLimitError):
            ask(client, "say:x")
        for answer in asked:
            answer.result()
    assert requests(server, "server_busy") == 1


def test_a_dead_engine_is_counted(server: Server, client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError):
        ask(client, "say:x !crash")
    assert requests(server, "engine_died") == 1
    wait_for(lambda: Reading.of(server.url).sum(names.MODEL_STATE, state="ready") == 1, 20)
    assert Reading.of(server.url).sum(names.ENGINE_RESTARTS, model="demo") >= 1
