from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from ixmodal.server.app import OTHER_ROUTES, V1_ROUTES
from ixmodal.server.auth import PUBLIC_PATHS, require_admin
from ixmodal.server.callers import Caller
from ixmodal.server.errors import HTTPError
from ixmodal.server.keyring import KeyRing
from ixmodal.spec import AgentSpec, ApiKey, App, CustomEndpoint, Endpoint, Model, RateLimit
from tests.support.scripted import scripted_app

GUARDED = App(
    models=(Model("a", aliases=("alias",)), Model("b")),
    agents=(AgentSpec(id="agent", model="b"),),
    custom_endpoints=(CustomEndpoint(path="/custom", body={"ok": True}),),
    default_model="b",
    endpoint=Endpoint(
        keys=(ApiKey(name="narrow", key="narrow-key", models=("alias",)), ApiKey(name="wide", key="wide-key")),
        unprefixed_routes=True,
    ),
)
PAGES = ("/", "/status", "/web/{file:path}")
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "say:x"}]}
ADMIN = App(endpoint=Endpoint(keys=(ApiKey(name="root", key="r", admin=True), ApiKey(name="team", key="t"))))


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def request(
    spec: App,
    *,
    caller: Caller | None = None,
    client: tuple[str, int] | None = ("127.0.0.1", 5000),
    server: tuple[str, int] = ("127.0.0.1", 8000),
    **headers: str,
) -> Request:
    app = SimpleNamespace(state=SimpleNamespace(keys=KeyRing(spec, {})))
    sent = {"host": "localhost:8000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": client,
        "server": server,
        "app": app,
        "state": {"caller": caller} if caller else {},
    }
    return Request(scope)


def refusal(asked: Request) -> dict[str, Any]:
    with pytest.raises(HTTPError) as caught:
        require_admin(asked)
    assert caught.value.status == 403
    error: dict[str, Any] = caught.value.body["error"]
    assert error["code"] == "admin_key_required"
    return error


def test_every_route_but_health_and_pages_needs_a_key() -> None:
    with TestClient(scripted_app(GUARDED)) as client:
        routes = client.app.routes  # type: ignore[attr-defined]  # a Starlette behind a protocol
        assert {route.path for route in V1_ROUTES + OTHER_ROUTES} <= {route.path for route in routes}
        for route in routes:
            assert not isinstance(route, Mount), "a mount: say here what it guards"
            for method in route.methods:
                path = route.path.replace("{model:path}", "a").replace("{id}", "x").replace("{item}", "y")
                path = path.replace("{file:path}", "js/api.js")
                is_public = path in PUBLIC_PATHS or route.path in PAGES
                status = client.request(method, path).status_code
                assert (status == 401) == (not is_public), (method, path, status)
        assert client.get("/custom", headers=bearer("wide-key")).json() == {"ok": True}
        with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/v1/realtime"):
            pass
        assert closed.value.code == 1008


def test_a_key_sees_and_asks_its_models_only() -> None:
    with TestClient(scripted_app(GUARDED)) as client:
        narrow, wide = bearer("narrow-key"), bearer("wide-key")
        listed = {
            key: client.get("/v1/models", headers=bearer(key)).json()["data"] for key in ("narrow-key", "wide-key")
        }
        assert [model["id"] for model in listed["narrow-key"]] == ["a"]
        assert [model["id"] for model in listed["wide-key"]] == ["a", "b", "agent"]
        for name in ("a", "alias"):
            answer = client.post("/v1/chat/completions", json={**CHAT, "model": name}, headers=narrow)
            assert answer.json()["model"] == "a", answer.text
        calls: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", "/v1/chat/completions", CHAT),
            ("POST", "/v1/responses", {"input": "say:x"}),
            ("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1}),
            ("POST", "/v1/embeddings", {"input": "x"}),
            ("POST", "/v1/rerank", {"query": "x", "documents": ["y"]}),
            ("POST", "/tokenize", {"prompt": "x"}),
            ("POST", "/detokenize", {"tokens": [1]}),
            ("POST", "/apply-template", {"messages": CHAT["messages"]}),
        ]
        texts = set()
        for method, path, body in calls:
            for name in ("b", "nope", "agent", None):
                sent = {**body, "model": name} if name else body
                answer = client.request(method, path, json=sent, headers=narrow)
                assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found"), (path, name)
                texts.add(answer.json()["error"]["message"].replace(name or "b", "X"))
        for path in ("/v1/models/b", "/v1/models/agent", "/v1/models/nope", "/tokenizer_info?model=b"):
            assert client.get(path, headers=narrow).status_code == 404, path
        # What is forbidden can't be told from what is not there.
        assert texts == {"The model `X` does not exist or you do not have access to it."}
        assert client.post("/v1/chat/completions", json={**CHAT, "model": "b"}, headers=wide).status_code == 200


def test_admin_routes_need_an_admins_key_once_there_is_one() -> None:
    none = RateLimit()
    require_admin(request(ADMIN, caller=Caller("root", none, is_admin=True), client=("203.0.113.9", 1)))
    assert "needs an admin key" in refusal(request(ADMIN, caller=Caller("team", none)))["message"]
    assert "needs an admin key" in refusal(request(ADMIN))["message"]


@pytest.mark.parametrize(
    ("client", "server", "host"),
    [
        ("127.0.0.1", "127.0.0.1", "localhost:8000"),
        ("::1", "::1", "[::1]:8000"),
        ("127.0.0.2", "127.0.0.1", "127.0.0.1"),
    ],
)
def test_without_an_admin_key_this_machine_is_the_admin(client: str, server: str, host: str) -> None:
    require_admin(request(App(), client=(client, 1), server=(server, 8000), host=host))
    require_admin(request(App(), client=(client, 1), server=(server, 8000), host=host, origin="http://localhost:8000"))


@pytest.mark.parametrize(
    "fields",
    [
        {"client": ("192.0.2.1", 1)},
        {"client": ("testclient", 1)},
        {"client": None},
        {"server": ("192.0.2.2", 8000)},
        {"x_forwarded_for": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"via": "1.1 proxy"},
        {"x_real_ip": "127.0.0.1"},
        {"host": "evil.example"},
        {"host": "localhost.evil.example"},
        {"host": ""},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
    ids=str,
)
def test_who_is_not_surely_this_machine_is_not_the_admin(fields: dict[str, Any]) -> None:
    assert "this machine alone" in refusal(request(App(), **fields))["message"]
