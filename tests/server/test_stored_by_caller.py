"""What one caller stores, no other finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ixmodal.spec import ApiKey, App, Endpoint, State
from tests.support.scripted import scripted_app


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


ALICE, AGAIN, BOB, ADMIN = bearer("alice-1"), bearer("alice-2"), bearer("bob"), bearer("admin")
KEYS = (
    ApiKey(name="alice", key="env:ALICES_KEYS"),
    ApiKey(name="bob", key="bob"),
    ApiKey(name="root", key="admin", admin=True),
)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("ALICES_KEYS", "alice-1,alice-2")
    spec = App(endpoint=Endpoint(keys=KEYS), state=State(path=str(tmp_path / "db")))
    with TestClient(scripted_app(spec)) as client:
        yield client


def create(client: TestClient, headers: dict[str, str], **fields: Any) -> Any:
    return client.post("/v1/responses", json={"model": "demo", "input": "say:four", **fields}, headers=headers)


def test_a_response_is_its_callers_alone(client: TestClient) -> None:
    made = create(client, ALICE).json()
    path = f"/v1/responses/{made['id']}"
    for stranger in (BOB, ADMIN):
        for found in (
            client.get(path, headers=stranger),
            client.get(f"{path}?stream=true", headers=stranger),
            client.get(f"{path}/input_items", headers=stranger),
            client.post(f"{path}/cancel", headers=stranger),
            client.delete(path, headers=stranger),
        ):
            assert found.status_code == 404, found.text
        continued = create(client, stranger, previous_response_id=made["id"])
        assert (continued.status_code, continued.json()["error"]["code"]) == (400, "previous_response_not_found")
        reference = [{"type": "item_reference", "id": made["output"][0]["id"]}]
        assert create(client, stranger, input=reference).status_code == 404
    assert client.get(path, headers=AGAIN).json() == made  # another key of the same caller
    assert create(client, AGAIN, previous_response_id=made["id"]).status_code == 200
    assert client.delete(path, headers=ALICE).status_code == 200


def test_a_response_in_the_making_is_its_callers_alone(client: TestClient) -> None:
    made = create(client, ALICE, input="say:four", background=True).json()
    path = f"/v1/responses/{made['id']}"
    assert client.post(f"{path}/cancel", headers=BOB).status_code == 404
    assert client.delete(path, headers=BOB).status_code == 404
    assert client.get(path, headers=ALICE).status_code == 200


def test_a_conversation_is_its_callers_alone(client: TestClient) -> None:
    item = {"type": "message", "role": "user", "content": "hello"}
    made = client.post("/v1/conversations", json={"items": [item]}, headers=ALICE).json()
    path = f"/v1/conversations/{made['id']}"
    assert create(client, ALICE, conversation=made["id"]).status_code == 200
    items = client.get(f"{path}/items", headers=ALICE).json()["data"]
    assert len(items) == 3
    for found in (
        client.get(path, headers=BOB),
        client.post(path, json={"metadata": {}}, headers=BOB),
        client.get(f"{path}/items", headers=BOB),
        client.post(f"{path}/items", json={"items": [item]}, headers=BOB),
        client.get(f"{path}/items/{items[0]['id']}", headers=BOB),
        client.delete(f"{path}/items/{items[0]['id']}", headers=BOB),
        client.delete(path, headers=BOB),
        create(client, BOB, conversation=made["id"]),
    ):
        assert found.status_code == 404, found.text
    assert len(client.get(f"{path}/items", headers=AGAIN).json()["data"]) == 3


def test_no_id_leads_to_another_callers_shelf(client: TestClient) -> None:
    made = create(client, BOB).json()
    for id in (f"bob/{made['id']}", f"../bob/{made['id']}", f"/bob/{made['id']}"):
        assert create(client, ALICE, previous_response_id=id).status_code == 400


def test_without_keys_there_is_one_caller(tmp_path: Path) -> None:
    with TestClient(scripted_app(App(state=State(path=str(tmp_path / "db"))))) as client:
        made = create(client, {}).json()
        assert client.get(f"/v1/responses/{made['id']}", headers=ALICE).json() == made
