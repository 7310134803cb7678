from __future__ import annotations

from starlette.testclient import TestClient

from ixmodal.server.telemetry import names
from ixmodal.spec import ApiKey, App, Endpoint, Model
from tests.support.metrics import Reading
from tests.support.scripted import scripted_app

KEYS = (
    ApiKey(name="team", key="t", requests_per_minute=1),
    ApiKey(name="root", key="r", admin=True),
)
CHAT = {"model": "demo", "messages": [{"role": "user", "content": "say:x"}]}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_metrics_need_a_key_unless_the_spec_makes_them_public() -> None:
    with TestClient(scripted_app(App(endpoint=Endpoint(keys=KEYS)))) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers=bearer("t")).status_code == 200
    with TestClient(scripted_app(App(endpoint=Endpoint(keys=KEYS, public_metrics=True)))) as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/slots").status_code == 401


def test_slots_are_for_admins() -> None:
    spec = App(models=(Model("demo", slots=2), Model("other", slots=1)), endpoint=Endpoint(keys=KEYS))
    with TestClient(scripted_app(spec)) as client:
        refused = client.get("/slots", headers=bearer("t"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "admin_key_required")
        slots = client.get("/slots", headers=bearer("r")).json()["data"]
    assert [(slot["model"], slot["id"]) for slot in slots] == [("demo", 0), ("demo", 1), ("other", 0)]


def test_refusals_by_limits_are_counted_without_saying_whose() -> None:
    with TestClient(scripted_app(App(models=(Model("demo"),), endpoint=Endpoint(keys=KEYS)))) as client:
        statuses = [client.post("/v1/chat/completions", json=CHAT, headers=bearer("t")).status_code for _ in range(3)]
        text = client.get("/metrics", headers=bearer("r")).text
    assert statuses == [200, 429, 429]
    assert Reading(text).sum(names.RATE_LIMITED, limit="requests") == 2
    assert "team" not in text


def test_what_clients_send_makes_no_series() -> None:
    with TestClient(scripted_app(App(models=(Model("demo", aliases=("alias",)),)))) as client:
        for index in range(5):
            client.get(f"/made/up/{index}")
            client.get(f"/v1/models/unknown-{index}")
            client.get(f"/v1/responses/resp_{index}")
            client.post("/v1/chat/completions", json=CHAT | {"model": f"unknown-{index}"})
            client.request(f"ODD{index}", "/v1/models")
        client.get("/v1/models/alias")
        found = Reading(client.get("/metrics").text)
    series = {
        (sample.labels["model"], sample.labels["endpoint"], sample.labels["outcome"])
        for sample in found.samples
        if sample.name == names.REQUESTS
    }
    assert len(series) == 6, series
    assert ("demo", "/v1/models/{model:path}", "ok") in series


def test_each_application_counts_for_itself() -> None:
    for _ in range(2):
        with TestClient(scripted_app(App(models=(Model("demo"),)))) as client:
            client.post("/v1/chat/completions", json=CHAT)
            found = Reading(client.get("/metrics").text)
            assert found.sum(names.REQUESTS, endpoint="/v1/chat/completions") == 1
