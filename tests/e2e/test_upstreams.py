"""The real `openai` client against a server that passes requests on to a second one. Real processes, real signals."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from openai import APIError, APIStatusError, InternalServerError, OpenAI, RateLimitError

from tests.support.server import SCRIPTED, Server, serve, wait_for

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."


def spec_of(models: list[dict[str, Any]], **fields: Any) -> dict[str, str]:
    return {"IXMODAL_SPEC": json.dumps({"models": models, **fields})}


def client_of(server: Server) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="local-key", max_retries=0, timeout=30)


def upstream_of(server: Server, model: str = "demo", **fields: Any) -> dict[str, Any]:
    return {"url": f"{server.url}/v1", "model": model, **fields}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """A scripted server that asks for a key."""
    with serve(SCRIPTED, spec_of([{"id": "demo", "slots": 2}], endpoint={"api_keys": ["far-key"]})) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(demo: Server, scripted: Server, guarded: Server) -> Iterator[Server]:
    """A server with no weights of its own."""
    models = [
        {"id": "shipped", "upstream": upstream_of(demo)},
        {"id": "scripted", "upstream": upstream_of(scripted)},
        {"id": "guarded", "upstream": upstream_of(guarded, key="env:FAR_KEY")},
        {"id": "misguarded", "upstream": upstream_of(guarded, key="wrong")},
        {"id": "unknown", "upstream": upstream_of(scripted, model="nope")},
        {"id": "gone", "upstream": "http://127.0.0.1:9/v1"},
    ]
    agents = [{"id": "helper", "model": "shipped", "tools": ["tests.support.weather:get_weather"]}]
    environ = spec_of(models, agents=agents, endpoint={"api_keys": ["local-key"]}) | {"FAR_KEY": "far-key"}
    with serve(("ixmodal", "serve"), environ) as server:
        yield server


@pytest.fixture
def near(gateway: Server) -> Iterator[OpenAI]:
    """The SDK, against the gateway."""
    with client_of(gateway) as client:
        yield client


def ask(client: OpenAI, model: str, text: str, **fields: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    create: Any = client.chat.completions.create  # plain dicts for messages
    return create(model=model, messages=messages, **fields)


def said(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_chat_whole_and_streamed(near: OpenAI) -> None:
    whole = ask(near, "shipped", QUESTION, temperature=0)
    assert whole.choices[0].message.content == ANSWER
    assert whole.model == "demo"
    chunks = list(ask(near, "shipped", QUESTION, temperature=0, stream=True, stream_options={"include_usage": True}))
    assert said(chunks) == ANSWER
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_who_answered_and_the_request_id(gateway: Server, near: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "say:hi"}]
    answer = near.chat.completions.with_raw_response.create(
        model="scripted", messages=messages, extra_headers={"x-request-id": "mine-1"}
    )
    assert answer.headers["x-ixmodal-served-by"] == "scripted"
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["x-upstream-request-id"] == "mine-1"
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert gateway.health()["models"]["scripted"] == "ready"


def test_it_says_whom_it_asks_and_shows_no_key(gateway: Server, scripted: Server, near: OpenAI) -> None:
    with pytest.raises(APIStatusError):
        ask(near, "misguarded", "say:x")
    assert f"asked of {scripted.url}/v1" in gateway.log
    assert not [key for key in ("far-key", "wrong") if key in gateway.log]


def test_completions_and_embeddings(near: OpenAI, scripted: Server) -> None:
    whole = near.completions.create(model="scripted", prompt="say:one two|", max_tokens=50)
    assert whole.choices[0].text == "one two"
    stream = near.completions.create(model="scripted", prompt="say:one two|", max_tokens=50, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "one two"
    with OpenAI(base_url=f"{scripted.url}/v1", api_key="x") as far:
        expected = far.embeddings.create(model="demo", input=["a", "bb"]).data
    assert near.embeddings.create(model="scripted", input=["a", "bb"]).data == expected


def test_tools(near: OpenAI) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    for stream in (False, True):
        answer = ask(
            near, "shipped", "Weather in Rome?", tools=tools, tool_choice="required", temperature=0, stream=stream
        )
        if stream:
            deltas = [chunk.choices[0].delta.tool_calls[0] for chunk in answer if chunk.choices[0].delta.tool_calls]
            name = deltas[0].function.name
            arguments = "".join(delta.function.arguments for delta in deltas)
        else:
            [call] = answer.choices[0].message.tool_calls
            name, arguments = call.function.name, call.function.arguments
        assert name == "weather"
        assert isinstance(json.loads(arguments)["city"], str)


def test_tokens(gateway: Server, scripted: Server) -> None:
    head = {"authorization": "Bearer local-key"}
    for path, body in (("tokenize", {"prompt": "ab"}), ("detokenize", {"tokens": [100, 101]})):
        found = httpx.post(f"{gateway.url}/{path}", json={**body, "model": "scripted"}, headers=head)
        assert found.json() == httpx.post(f"{scripted.url}/{path}", json=body).json()
    found = httpx.get(f"{gateway.url}/tokenizer_info?model=scripted", headers=head)
    assert found.json() == httpx.get(f"{scripted.url}/tokenizer_info").json()
    assert httpx.head(f"{gateway.url}/tokenizer_info?model=scripted", headers=head).status_code == 200


def test_keys_are_each_servers_own(gateway: Server, near: OpenAI) -> None:
    assert ask(near, "guarded", "say:in").choices[0].message.content == "in"
    stranger = OpenAI(base_url=f"{gateway.url}/v1", api_key="far-key", max_retries=0)
    with stranger, pytest.raises(APIStatusError) as caught:
        ask(stranger, "guarded", "say:in")
    assert caught.value.status_code == 401
    assert "x-ixmodal-served-by" not in caught.value.response.headers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "fields", "status", "code", "param"),
    [
        ("scripted", {"temperature": 9}, 400, "invalid_value", "temperature"),
        ("misguarded", {}, 401, "invalid_api_key", None),
        ("unknown", {}, 404, "model_not_found", "model"),
    ],
)
def test_its_errors_are_passed_on(
    near: OpenAI, model: str, fields: dict[str, Any], status: int, code: str, param: str | None, stream: bool
) -> None:
    with pytest.raises(APIStatusError) as caught:
        ask(near, model, "say:x", stream=stream, **fields)
    error = caught.value
    assert (error.status_code, error.code, error.param) == (status, code, param)
    assert error.response.headers["x-ixmodal-served-by"] == model


def test_an_upstream_that_is_not_there(gateway: Server, near: OpenAI) -> None:
    with pytest.raises(InternalServerError) as caught:
        ask(near, "gone", "say:x")
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_failed")
    assert "The upstream of gone can't be reached" in caught.value.message
    health = httpx.get(f"{gateway.url}/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    assert health.json()["models"]["gone"] == "unreachable"


def test_a_full_upstream_is_429_with_its_time_to_wait() -> None:
    with (
        serve(SCRIPTED, spec_of([{"id": "demo", "slots": 1}], endpoint={"max_queued": 0})) as far,
        serve(
            SCRIPTED, spec_of([{"id": "big", "upstream": upstream_of(far)}], limits={"request_timeout": 2})
        ) as server,
        client_of(server) as client,
    ):
        running = ask(client, "big", "!slow=0.05 !forever say:abc", stream=True)
        next(running)
        with pytest.raises(RateLimitError) as caught:
            ask(client, "big", "say:x")
        assert caught.value.code == "server_busy"
        assert int(caught.value.response.headers["retry-after"]) >= 1
        running.close()
        # The client's hanging up reaches the upstream, whose slot is free again.
        wait_for(lambda: far.health()["running"] == 0 and server.health()["running"] == 0, 10)
        assert ask(client, "big", "say:free").choices[0].message.content == "free"


def test_an_upstream_killed_in_the_middle_of_a_stream() -> None:
    with (
        serve(SCRIPTED, spec_of([{"id": "demo"}])) as far,
        serve(SCRIPTED, spec_of([{"id": "big", "upstream": upstream_of(far)}])) as server,
        client_of(server) as client,
    ):
        chunks = ask(client, "big", "!slow=0.03 !forever say:abc", stream=True)
        before = [next(chunks) for _ in range(5)]
        assert said(before).startswith("abc")
        far.process.kill()
        with pytest.raises(APIError, match=r"The upstream of big broke off its answer") as caught:
            list(chunks)
        assert caught.value.code == "upstream_failed"
        assert server.health()["running"] == 0
        wait_for(lambda: far.process.poll() is not None, 5)
        with pytest.raises(InternalServerError) as refused:
            ask(client, "big", "say:x")
        assert refused.value.status_code == 502


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []
        listener.settimeout(30)

        def accept() -> None:
            try:
                while True:
                    held.append(listener.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for connection in held:
            connection.close()


def test_an_upstream_that_hangs(silent: str, scripted: Server) -> None:
    models = [{"id": "mute", "upstream": silent}, {"id": "slow", "upstream": upstream_of(scripted)}]
    with (
        serve(SCRIPTED, spec_of(models, limits={"upstream_read_timeout": 0.5})) as server,
        client_of(server) as client,
    ):
        for stream in (False, True):
            with pytest.raises(InternalServerError) as caught:
                ask(client, "mute", "say:x", stream=stream)
            assert (caught.value.status_code, caught.value.code) == (504, "upstream_timeout")
        # One that falls silent within its answer
        with pytest.raises(APIError) as broken:
            list(ask(client, "slow", "!slow=0.9 say:abc", stream=True))
        assert broken.value.code == "upstream_timeout"
        assert server.health()["running"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_ends_the_wait(silent: str, stream: bool) -> None:
    with serve(SCRIPTED, spec_of([{"id": "mute", "upstream": silent}])) as server:
        body = {"model": "mute", "messages": [{"role": "user", "content": "x"}], "stream": stream}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=0.7)
        wait_for(lambda: server.health()["running"] == 0, 5)
        assert server.health()["requests"] == 1


def test_a_stop_lets_forwarded_streams_finish(scripted: Server) -> None:
    with (
        serve(SCRIPTED, spec_of([{"id": "big", "upstream": upstream_of(scripted)}])) as server,
        client_of(server) as client,
    ):
        chunks = ask(client, "big", "!slow=0.05 say:a longer answer", stream=True)
        first = [next(chunks), next(chunks)]
        server.process.terminate()
        assert said([*first, *chunks]) == "a longer answer"
        assert server.process.wait(10) in (0, -signal.SIGTERM)


def test_responses_of_an_upstream(near: OpenAI) -> None:
    first = near.responses.create(model="shipped", input=QUESTION, temperature=0)
    assert first.output_text == ANSWER
    assert first.model == "shipped"
    assert first.usage is not None
    assert first.usage.output_tokens > 3
    with near.responses.stream(model="shipped", input=QUESTION, temperature=0) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == ANSWER
    again = near.responses.create(model="shipped", input=QUESTION, previous_response_id=first.id, temperature=0)
    assert again.usage is not None
    assert again.usage.input_tokens > first.usage.input_tokens
    with pytest.raises(APIStatusError) as caught:
        near.responses.create(model="unknown", input="say:x")
    assert (caught.value.status_code, caught.value.code) == (404, "model_not_found")
    assert "The upstream of unknown: " in caught.value.message


def test_an_agent_over_an_upstream(near: OpenAI) -> None:
    answer = ask(near, "helper", QUESTION, temperature=0)
    assert answer.choices[0].message.content == ANSWER
    assert answer.model == "helper"


def test_a_burst_overflows(scripted: Server) -> None:
    models = [
        {"id": "demo", "slots": 1, "overflow_to": "cloud"},
        {"id": "cloud", "upstream": upstream_of(scripted)},
    ]
    with (
        serve(SCRIPTED, spec_of(models, endpoint={"max_queued": 1})) as server,
        client_of(server) as client,
        ThreadPoolExecutor(10) as pool,
    ):

        def one(number: int) -> tuple[str, str]:
            create = client.chat.completions.with_raw_response.create
            messages: Any = [{"role": "user", "content": f"!slow=0.01 say:answer {number}"}]
            if number % 2:
                raw = create(model="demo", messages=messages)
                return str(raw.parse().choices[0].message.content), raw.headers["x-ixmodal-served-by"]
            raw_stream = create(model="demo", messages=messages, stream=True)
            return said(raw_stream.parse()), raw_stream.headers["x-ixmodal-served-by"]

        wait_for(lambda: server.health()["models"]["demo"] == "ready", 20)  # it is asked by the upstream until then
        answers = list(pool.map(one, range(10)))
        assert [text for text, _ in answers] == [f"answer {number}" for number in range(10)]
        by = [server for _, server in answers]
        assert set(by) == {"demo", "cloud"}, by
        assert by.count("cloud") >= 4, by
        assert one(1) == ("answer 1", "demo")
        # Responses overflow as well.
        busy = [ask(client, "demo", "!slow=0.02 !forever say:abc", stream=True)]
        wait_for(lambda: server.health()["running"] == 1, 5)
        waiting = pool.submit(ask, client, "demo", "say:waited")
        wait_for(lambda: server.health()["queued"] == 1, 5)
        assert client.responses.create(model="demo", input="say:over").output_text == "over"
        busy[0].close()
        assert waiting.result().choices[0].message.content == "waited"
