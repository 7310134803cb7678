from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from ixmodal.errors import SpecError
from ixmodal.spec import AgentSpec, App, Endpoint, Model
from tests.support.scripted import scripted_app
from tests.support.server import Server


def test_models_are_listed_and_found(scripted: Server) -> None:
    listed = httpx.get(f"{scripted.url}/v1/models").json()
    assert listed["object"] == "list"
    [model] = listed["data"]
    assert (model["id"], model["object"], model["owned_by"]) == ("demo", "model", "ixmodal")
    assert isinstance(model["created"], int)
    assert httpx.get(f"{scripted.url}/v1/models/demo").json() == model


def test_ids_with_slashes_are_found() -> None:
    with TestClient(scripted_app(App(models=(Model("org/model:7b"),)))) as client:
        assert client.get("/v1/models/org/model:7b").json()["id"] == "org/model:7b"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}),
        ("/tokenize", {"prompt": "a"}),
        ("/detokenize", {"tokens": [70]}),
        ("/apply-template", {"messages": [{"role": "user", "content": "a"}]}),
    ],
)
def test_an_agent_is_refused_where_only_models_answer(path: str, body: dict[str, Any]) -> None:
    spec = App(models=(Model("demo"),), agents=(AgentSpec("helper", model="demo"),), default_model="helper")
    with TestClient(scripted_app(spec)) as client:
        response = client.post(path, json={"model": "helper", **body})
        error = response.json()["error"]
        assert (response.status_code, error["param"], error["code"]) == (400, "model", "agent_not_supported")
        assert "its model, `demo`" in error["message"]
        if not path.startswith("/v1"):
            assert client.post(path, json=body).status_code in (200, 503)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/models/nope", 404, "model_not_found"),
        ("GET", "/nope", 404, "unknown_url"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
    ],
)
def test_every_error_on_every_path_has_the_envelope(
    scripted: Server, method: str, path: str, status: int, code: str
) -> None:
    response = httpx.request(method, f"{scripted.url}{path}")
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code


def test_health_counts(scripted: Server) -> None:
    before = scripted.health()
    assert before["status"] == "ok"
    assert before["model"] == "demo"
    body = {"model": "demo", "messages": [{"role": "user", "content": "say:four"}]}
    answer = httpx.post(f"{scripted.url}/v1/chat/completions", json=body).json()
    after = scripted.health()
    assert after["requests"] == before["requests"] + 1
    assert after["tokens"] == before["tokens"] + answer["usage"]["completion_tokens"]
    assert after["uptime"] > before["uptime"]
    assert (after["running"], after["queued"]) == (0, 0)


def test_every_response_has_an_id_and_a_time(scripted: Server) -> None:
    made = httpx.get(f"{scripted.url}/nope").headers
    assert made["x-request-id"].startswith("req_")
    assert int(made["openai-processing-ms"]) >= 0
    given = httpx.get(f"{scripted.url}/health", headers={"x-request-id": "mine-1"}).headers
    assert given["x-request-id"] == "mine-1"
    odd = httpx.get(f"{scripted.url}/health", headers={"x-request-id": "a b<script>"}).headers
    assert odd["x-request-id"].startswith("req_")


def test_keys_guard_everything_but_health_and_the_pages() -> None:
    spec = App(endpoint=Endpoint(api_keys=("first-key", "second-key")))
    with TestClient(scripted_app(spec)) as client:
        for path in ("/health", "/healthz", "/readyz"):
            assert client.get(path).status_code in (200, 503)
        for path in ("/v1/models", "/v1/models/demo", "/nope", "/v1/chat/completions", "/metrics", "/openapi.json"):
            assert client.get(path).status_code == 401, path
        assert client.get("/").headers["content-type"].startswith("text/html")
        assert client.post("/").status_code == 401
        for header in ("", "Bearer", "Bearer ", "Bearer first-ke", "Basic first-key", "first-key", "Bearer first-key2"):
            response = client.get("/v1/models", headers={"authorization": header})
            assert response.status_code == 401, header
            assert response.json()["error"]["type"] == "authentication_error"
            assert "first-key" not in response.text
        for key in ("first-key", "second-key"):
            assert client.get("/v1/models", headers={"authorization": f"Bearer {key}"}).status_code == 200


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IXMODAL_API_KEYS", "one, two")
    monkeypatch.setenv("MORE", "three")
    spec = App(endpoint=Endpoint(api_keys=("secret:team-keys", "env:MORE")))
    with TestClient(scripted_app(spec)) as client:
        for key in ("one", "two", "three"):
            assert client.get("/v1/models", headers={"authorization": f"Bearer {key}"}).status_code == 200


@pytest.mark.parametrize("declared", ["secret:team-keys", "env:NOTHING"])
def test_a_key_that_is_declared_and_absent_keeps_the_server_shut(
    declared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IXMODAL_API_KEYS", raising=False)
    with pytest.raises(SpecError, match="set the environment variable"):
        scripted_app(App(endpoint=Endpoint(api_keys=declared)))


def test_cors_is_off_unless_the_spec_opens_it() -> None:
    origin = {"origin": "https://page.example"}
    preflight = {**origin, "access-control-request-method": "POST"}
    with TestClient(scripted_app(App())) as client:
        assert "access-control-allow-origin" not in client.get("/v1/models", headers=origin).headers
    spec = App(endpoint=Endpoint(cors_origins=("https://page.example",), api_keys=("k",)))
    with TestClient(scripted_app(spec)) as client:
        opened = client.options("/v1/chat/completions", headers=preflight)
        assert opened.status_code == 200
        assert opened.headers["access-control-allow-origin"] == "https://page.example"
        # A page must be able to read why it was refused.
        refused = client.get("/v1/models", headers=origin)
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://page.example")
        other = client.get("/health", headers={"origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers


def test_routes_without_prefix_are_switchable() -> None:
    with TestClient(scripted_app(App())) as client:
        assert client.get("/embeddings").status_code == 404
        assert client.get("/models/demo").status_code == 404
    with TestClient(scripted_app(App(endpoint=Endpoint(unprefixed_routes=True)))) as client:
        assert client.get("/models").json() == client.get("/v1/models").json()
        assert client.get("/models/demo").json()["id"] == "demo"
        assert client.post("/embeddings", json={}).status_code == 400


def test_a_model_is_found_by_alias_and_by_default() -> None:
    spec = App(models=(Model("demo", aliases=("gpt-4o", "org/other")), Model("second")), default_model="second")
    body = {"messages": [{"role": "user", "content": "say:x"}]}
    with TestClient(scripted_app(spec)) as client:
        for name, found in (("gpt-4o", "demo"), ("org/other", "demo"), ("demo", "demo"), (None, "second")):
            answer = client.post("/v1/chat/completions", json={**body, **({"model": name} if name else {})})
            assert answer.json()["model"] == found
        assert client.get("/v1/models/gpt-4o").json()["id"] == "demo"
