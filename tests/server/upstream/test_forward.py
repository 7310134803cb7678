"""Passing on, in one process: the upstream is made up by respx, the model here is never there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import respx
from starlette.testclient import TestClient
from tenacity import wait_none

from ixmodal import App, Model
from ixmodal.engine.messages import Load
from ixmodal.errors import WeightsError
from ixmodal.runtime import FindLoad, Runtime
from ixmodal.server.app import create_app
from ixmodal.spec.sources import parse_spec
from ixmodal.upstreams import retries

URL = "https://big.example.com/v1"
CHAT = f"{URL}/chat/completions"
BODY = {"model": "big", "messages": [{"role": "user", "content": "hi"}]}
ERROR: dict[str, dict[str, Any]] = {"error": {"message": "no", "type": "t", "param": None, "code": "c"}}
EVENT_STREAM = {"content-type": "text/event-stream"}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_BACK_OFF", wait_none())


async def _never_there(_model: Model, _spec: App, progress: Any) -> Load:
    progress(1, 100)
    await asyncio.sleep(3600)
    raise AssertionError


async def _cant_be_there(_model: Model, _spec: App, _progress: Any) -> Load:
    raise WeightsError("no such file")


@contextmanager
def serving(find_load: FindLoad = _never_there, **fields: Any) -> Iterator[TestClient]:
    """A server of `demo`, here, which overflows to `big`, elsewhere."""
    models = [
        {"id": "demo", "slots": 1, "overflow_to": "big"},
        {"id": "big", "upstream": {"url": URL, "model": "theirs"}, "aliases": ["large"]},
    ]
    spec = parse_spec({"models": models, **fields})
    with TestClient(create_app(Runtime(spec, find_load))) as client:
        yield client


def test_the_body_keeps_its_bytes(respx_mock: respx.MockRouter) -> None:
    route = respx_mock.post(CHAT).respond(200, content=b'{"odd":  1.00}', headers={"content-type": "application/json"})
    raw = b'{ "seed": 123456789012345678901234567890, "x": 1.10, "model":"large" , "y": {"\\u00e9": null}}'
    with serving() as client:
        answer = client.post("/v1/chat/completions", content=raw)
    assert answer.content == b'{"odd":  1.00}'
    assert answer.headers["x-ixmodal-served-by"] == "big"
    sent = route.calls.last.request
    assert json.loads(sent.content) == {**json.loads(raw), "model": "theirs"}
    assert b'"x":1.10' in sent.content
    assert b'"seed":123456789012345678901234567890' in sent.content


def test_a_stream_keeps_its_bytes(respx_mock: respx.MockRouter) -> None:
    stream = b': c\n\ndata: {"a":  1.0}\n\ndata: [DONE]\n\n'
    respx_mock.post(CHAT).respond(200, content=stream, headers={**EVENT_STREAM, "cache-control": "no-store"})
    with serving() as client:
        answer = client.post("/v1/chat/completions", json={**BODY, "stream": True})
    assert answer.content == stream
    assert answer.headers["cache-control"] == "no-store"


def test_a_stream_that_is_cut_ends_with_an_error_event(respx_mock: respx.MockRouter) -> None:
    respx_mock.post(CHAT).respond(200, content=b"data: {}\n\ndata: {", headers=EVENT_STREAM)
    with serving() as client:
        answer = client.post("/v1/chat/completions", json={**BODY, "stream": True})
    first, error, done, end = answer.content.split(b"\n\n")
    assert (first, done, end) == (b"data: {}", b"data: [DONE]", b"")
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "upstream_failed"


@pytest.mark.parametrize(
    ("response", "event"),
    [
        (httpx.Response(200, content=b'data: {"a": 1}\n\ndata: [DONE]\n\n', headers=EVENT_STREAM), {"a": 1}),
        (
            httpx.Response(403, json=ERROR),
            {"error": {**ERROR["error"], "message": "The upstream of big: no"}},
        ),
    ],
    ids=["answer", "refusal"],
)
def test_a_long_wait_goes_on_behind_the_status(
    respx_mock: respx.MockRouter, response: httpx.Response, event: dict[str, Any]
) -> None:
    async def late(_request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.3)
        return response

    respx_mock.post(CHAT).mock(side_effect=late)
    with serving(limits={"head_timeout": 0.05}) as client:
        answer = client.post("/v1/chat/completions", json={**BODY, "stream": True})
    shown, done, end = answer.content.removeprefix(b": waiting\n\n").split(b"\n\n")
    assert (answer.status_code, done, end) == (200, b"data: [DONE]", b"")
    assert json.loads(shown.removeprefix(b"data: ")) == event


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_passed_on_as_they_are(respx_mock: respx.MockRouter, stream: bool) -> None:
    kept = {"x-should-retry": "false", "retry-after": "3"}
    left_out = {
        "www-authenticate": "Bearer",
        "x-ratelimit-limit-requests": "7",
        "set-cookie": "a=b",
        "server": "theirs",
    }
    respx_mock.post(CHAT).respond(403, json=ERROR, headers=kept | left_out)
    with serving() as client:
        answer = client.post("/v1/chat/completions", json={**BODY, "stream": stream})
    assert (answer.status_code, answer.json()) == (403, ERROR)
    assert {name: answer.headers.get(name) for name in kept} == kept
    assert not set(left_out) & set(answer.headers)


@pytest.mark.parametrize("page", [b"<h1>Bad\n Gateway</h1>", b"[1]", b'{"error": "text"}', b"", b"\xff"])
def test_errors_without_an_envelope_get_one(respx_mock: respx.MockRouter, page: bytes) -> None:
    respx_mock.post(CHAT).respond(500, content=page, headers={"content-type": "text/html"})
    with serving() as client:
        answer = client.post("/v1/chat/completions", json=BODY)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (500, "upstream_error")
    assert error["message"].startswith("The upstream of big answers 500 Internal Server Error")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"model": "big", "stream": 3}', b'{"model": "big"', b'{"model": 3}'])
def test_bodies_that_cant_be_passed_on_are_refused_here(respx_mock: respx.MockRouter, raw: bytes) -> None:
    with serving() as client:
        answer = client.post("/v1/chat/completions", content=raw)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert not respx_mock.calls


def test_limits_of_the_body_come_first(respx_mock: respx.MockRouter) -> None:
    with serving(limits={"max_body_bytes": 1024}) as client:
        assert client.post("/v1/chat/completions", json={**BODY, "x": "x" * 2000}).status_code == 413
    assert not respx_mock.calls


@pytest.mark.parametrize(("path", "status"), [("/v1/responses/cancel", 405), ("/v1/nothing", 404)])
def test_nothing_else_is_passed_on(respx_mock: respx.MockRouter, path: str, status: int) -> None:
    with serving() as client:
        assert client.post(path, json=BODY).status_code == status
    assert not respx_mock.calls


def test_a_circle_ends(respx_mock: respx.MockRouter) -> None:
    with serving() as client:
        answer = client.post("/v1/chat/completions", json=BODY, headers={"x-ixmodal-hops": "4"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (508, "upstream_loop")
        assert (
            client.post(
                "/v1/responses", json={"model": "big", "input": "x"}, headers={"x-ixmodal-hops": "4"}
            ).status_code
            == 508
        )
        assert not respx_mock.calls
        respx_mock.post(CHAT).respond(200, json={})
        assert client.post("/v1/chat/completions", json=BODY, headers={"x-ixmodal-hops": "3"}).status_code == 200
    assert respx_mock.calls.last.request.headers["x-ixmodal-hops"] == "4"


@pytest.mark.parametrize("find_load", [_never_there, _cant_be_there], ids=["pulling", "failed"])
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("chat/completions", {"messages": BODY["messages"]}),
        ("completions", {"prompt": "hi"}),
        ("embeddings", {"input": "hi"}),
    ],
)
def test_a_model_that_is_not_loaded_overflows(
    respx_mock: respx.MockRouter, find_load: FindLoad, path: str, fields: dict[str, Any]
) -> None:
    route = respx_mock.post(f"{URL}/{path}").respond(200, json={"from": "there"})
    with serving(find_load) as client:
        answer = client.post(f"/v1/{path}", json={"model": "demo", **fields})
        assert (answer.status_code, answer.json()) == (200, {"from": "there"})
        assert answer.headers["x-ixmodal-served-by"] == "big"
        assert json.loads(route.calls.last.request.content) == {"model": "theirs", **fields}
        # What the model here refuses is refused, whoever would answer.
        assert client.post(f"/v1/{path}", json={"model": "demo", **fields, "nonsense": 1}).status_code == 400
        assert client.get("/readyz").status_code == 200
        health = client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "overflowing")
    assert route.call_count == 1


def test_what_was_passed_on_already_does_not_overflow(respx_mock: respx.MockRouter) -> None:
    with serving(_never_there) as client:
        body = {**BODY, "model": "demo"}
        answer = client.post("/v1/chat/completions", json=body, headers={"x-ixmodal-hops": "1"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_ready")
    assert not respx_mock.calls


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_an_overflow_that_fails_too_says_both(respx_mock: respx.MockRouter, path: str) -> None:
    respx_mock.post(CHAT).mock(side_effect=httpx.ConnectError("refused"))
    fields = {"input": "hi"} if path == "responses" else {"messages": BODY["messages"]}
    with serving(_never_there) as client:
        answer = client.post(f"/v1/{path}", json={"model": "demo", **fields})
    assert answer.status_code == 503
    message = answer.json()["error"]["message"]
    assert message.startswith("The model demo is ")
    assert "And where it overflows to: The upstream of big can't be reached: refused" in message
    assert int(answer.headers["retry-after"]) >= 1


def test_models_are_shown() -> None:
    with serving() as client:
        demo, big = client.get("/v1/models").json()["data"]
        assert (demo["overflow_to"], demo["is_upstream"]) == ("big", False)
        assert (big["id"], big["is_upstream"], big["status"], big["aliases"]) == ("big", True, "ready", ["large"])
        assert client.get("/v1/models/large").json() == big
        assert URL not in client.get("/v1/models").text


def test_the_document_knows_what_upstreams_may_answer() -> None:
    with serving() as client:
        paths = client.get("/openapi.json").json()["paths"]
    for path in ("/v1/chat/completions", "/v1/embeddings", "/tokenize"):
        responses = paths[path]["post"]["responses"]
        assert {"502", "508"} <= set(responses)
        assert "x-ixmodal-served-by" in responses["200"]["headers"]
    assert {"502", "508"} <= set(paths["/v1/responses"]["post"]["responses"])
    assert "502" not in paths["/v1/conversations"]["post"]["responses"]


def test_unprefixed_routes_are_passed_on(respx_mock: respx.MockRouter) -> None:
    respx_mock.post(CHAT).respond(200, json={"from": "there"})
    with serving(endpoint={"unprefixed_routes": True}) as client:
        assert client.post("/chat/completions", json=BODY).json() == {"from": "there"}


def test_a_default_model_may_be_elsewhere(respx_mock: respx.MockRouter) -> None:
    respx_mock.post(CHAT).respond(200, json={"from": "there"})
    with serving(default_model="big") as client:
        assert client.post("/v1/chat/completions", json={"messages": BODY["messages"]}).json() == {"from": "there"}
