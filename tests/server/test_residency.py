from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from starlette.testclient import TestClient

from ixmodal.runtime import Runtime
from ixmodal.server.app import create_app
from ixmodal.spec.sources import parse_spec
from tests.support.scripted import scripted_app
from tests.support.server import wait_for

HERE: dict[str, Any] = {"base_url": "http://127.0.0.1", "client": ("127.0.0.1", 50_000)}
MODELS = [{"id": "a", "slots": 2}, {"id": "b", "load": "request"}]
KEYS = [
    {"name": "root", "key": "sk-root-0123456789abcdef", "admin": True},
    {"name": "user", "key": "sk-user-0123456789abcdef"},
]


@contextmanager
def serving(ends: dict[str, Any] | None = None, **fields: Any) -> Iterator[TestClient]:
    with TestClient(
        scripted_app(parse_spec({"models": MODELS, **fields})), **(HERE if ends is None else ends)
    ) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200, 20)
        yield client


def run_time(client: TestClient, id: str) -> dict[str, Any]:
    found: dict[str, Any] = next(m for m in client.get("/models").json()["data"] if m["id"] == id)["run_time"]
    return found


def chat(client: TestClient, model: str) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "say:hi"}]}
    return client.post("/v1/chat/completions", json=body)


def test_a_model_is_loaded_shown_and_unloaded() -> None:
    with serving() as client:
        assert run_time(client, "b")["state"] == "cold"
        assert client.get("/models/b/endpoint").status_code == 404
        assert client.post("/models/load", json={"model": "b"}).json() == {"model": "b", "status": "loaded"}
        shown = run_time(client, "b")
        assert (shown["state"], shown["load"], shown["slots"]) == ("ready", "request", 2)
        assert psutil.pid_exists(shown["engine_pid"])
        assert shown["memory"]["resident_mib"] > 5
        assert client.get("/models/b/endpoint").json() == {"model": "b", "url": "http://127.0.0.1/v1"}
        assert client.post("/models/unload", json={"model": "b"}).json() == {"model": "b", "status": "unloaded"}
        assert run_time(client, "b")["engine_pid"] is None
        wait_for(lambda: not psutil.pid_exists(shown["engine_pid"]), 10)
        assert chat(client, "b").json()["choices"][0]["message"]["content"] == "hi"


def test_what_was_unloaded_is_a_503_until_it_is_loaded() -> None:
    with serving() as client:
        client.post("/models/unload", json={"model": "a"}).raise_for_status()
        refused = chat(client, "a")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_not_ready")
        assert client.get("/readyz").status_code == 200
        assert client.get("/health").json()["models"]["a"] == "cold"
        client.post("/models/load", json={"model": "a"}).raise_for_status()
        assert chat(client, "a").status_code == 200


def test_a_model_in_use_is_not_unloaded_unless_it_may_drain() -> None:
    with serving() as client:
        body = {"model": "a", "prompt": "!slow=0.05 say:aaaaaaaaaaaaaaaaaaaa|", "max_tokens": 64}
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.append(client.post("/v1/completions", json=body)))
        asking.start()
        wait_for(lambda: run_time(client, "a")["busy"] == 1, 10)
        refused = client.post("/models/unload", json={"model": "a"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_in_use")
        assert client.post("/models/unload", json={"model": "a", "drain": True}).status_code == 200
        asking.join()
        assert answers[0].json()["choices"][0]["text"] == "a" * 20


def test_only_admins_change_and_look_inside() -> None:
    root, user = ({"authorization": f"Bearer {key['key']}"} for key in KEYS)
    with serving(endpoint={"keys": KEYS}) as client:
        for path, body in (("/models/load", {"model": "b"}), ("/models/unload", {"model": "b"})):
            assert client.post(path, json=body).status_code == 401
            refused = client.post(path, json=body, headers=user)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "admin_key_required")
            assert client.post(path, json=body, headers=root).status_code == 200
        for path in ("/discovery", "/models/events?seconds=0"):
            assert client.get(path, headers=user).status_code == 403
            assert client.get(path, headers=root).status_code == 200
        assert "run_time" not in client.get("/models", headers=user).json()["data"][0]
        assert "run_time" in client.get("/models", headers=root).json()["data"][0]


def test_without_keys_only_this_machine_is_the_admin() -> None:
    with serving({}) as client:  # from "testclient"
        assert client.post("/models/load", json={"model": "b"}).status_code == 403
        assert "run_time" not in client.get("/models").json()["data"][0]


def test_loads_are_told_as_events() -> None:
    with serving() as client:
        heard: list[str] = []
        ask = {"params": {"seconds": 2}}
        listening = threading.Thread(target=lambda: heard.append(client.get("/models/events", **ask).text))
        listening.start()
        wait_for(lambda: len(client.app.state.runtime.desk._listeners) == 1, 5)  # type: ignore[attr-defined]  # Starlette's
        client.post("/models/load", json={"model": "b"}).raise_for_status()
        listening.join()
    *events, last = heard[0].split("\n\n")[:-1]
    assert last == "data: [DONE]"
    news = [json.loads(event.removeprefix("data: ")) for event in events]
    assert [(item["model"], item["state"]) for item in news[:2]] == [("a", "ready"), ("b", "cold")]
    assert [item["state"] for item in news[2:] if item["model"] == "b"][-1] == "ready"


def test_memory_that_lacks_is_told_in_figures() -> None:
    models = [{"id": "demo", "load": "request"}]
    spec = parse_spec({"models": models, "limits": {"model_memory_mib": 1}})
    with TestClient(create_app(Runtime(spec)), **HERE) as client:
        for answer in (chat(client, "demo"), client.post("/models/load", json={"model": "demo"})):
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["free_mib"]) == (503, "insufficient_memory", 1)
            assert error["required_mib"] > 90
            assert answer.headers["retry-after"]


def test_discovery_tells_the_machine_and_no_secrets() -> None:
    with serving(endpoint={"keys": KEYS}) as client:
        answer = client.get("/discovery", headers={"authorization": f"Bearer {KEYS[0]['key']}"})
    found = answer.json()
    assert found["cpu"]["usable_cores"] >= 1
    assert 0 < found["memory"]["free_mib"] <= found["memory"]["total_mib"]
    assert found["libraries"]["ctransformers"] == "0.2.27"
    assert [model["model"] for model in found["models"]] == ["a", "b"]
    assert "sk-" not in answer.text


def test_health_tells_the_activation() -> None:
    with serving() as client:
        assert client.get("/health").json()["activation"] == {"expected": 1, "ready": 1, "pending": []}
