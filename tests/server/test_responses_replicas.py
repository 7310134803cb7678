"""Two servers that share a store: what one makes, the other reads, cancels, deletes, or buries."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from starlette.testclient import TestClient

from ixmodal.server.responses import keeper, service
from ixmodal.server.store import LEASE, Document, SqliteStore, StoreError
from tests.server.test_responses_app import Fake, events_after, post, serving, settled, types

Clients = tuple[TestClient, OpenAI]


@pytest.fixture
def fake() -> Iterator[Fake]:
    fake = Fake()
    yield fake
    fake.gate.set()


@pytest.fixture
def replicas(fake: Fake, tmp_path: Path) -> Iterator[tuple[Clients, Clients]]:
    with serving(fake, SqliteStore(tmp_path / "db")) as one, serving(fake, SqliteStore(tmp_path / "db")) as other:
        yield one, other


def test_another_replica_continues_and_deletes(replicas: tuple[Clients, Clients], fake: Fake) -> None:
    (_, here), (_, there) = replicas
    made = here.responses.create(model="demo", input="echo: one")
    assert there.responses.retrieve(made.id) == made
    there.responses.create(model="demo", input="echo: two", previous_response_id=made.id)
    assert [message["content"] for message in fake.requests[-1].messages] == ["echo: one", "one ", "echo: two"]
    there.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        here.responses.retrieve(made.id)


def test_another_replica_shows_a_background_response_and_its_events(
    replicas: tuple[Clients, Clients], fake: Fake
) -> None:
    (here, _), (there, _) = replicas
    made = post(here, input="echo: a WAIT b", background=True).json()
    settled(there, made["id"], "in_progress")
    fake.gate.set()
    assert types(events_after(there, made["id"])) == types(events_after(here, made["id"]))
    assert settled(there, made["id"], "completed")["output"][0]["content"][0]["text"] == "a b "


def test_who_follows_through_a_replica_that_stops_is_sent_elsewhere(
    replicas: tuple[Clients, Clients], fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here, _), (there, _) = replicas
    made = post(here, input="echo: a WAIT b", background=True).json()
    settled(there, made["id"], "in_progress")
    monkeypatch.setattr(there.app.state.responses, "_is_stopping", lambda: True)  # type: ignore[attr-defined]  # Starlette
    assert '"code":"server_stopping"' in there.get(f"/v1/responses/{made['id']}?stream=true").text
    fake.gate.set()
    settled(here, made["id"], "completed")


def test_another_replica_cancels(replicas: tuple[Clients, Clients], fake: Fake) -> None:
    (here, _), (there, sdk) = replicas
    made = post(here, input="echo: a WAIT b", background=True).json()
    settled(there, made["id"], "in_progress")
    cancelled = sdk.responses.cancel(made["id"])
    assert cancelled.status == "cancelled"
    assert fake.closed == 1
    assert here.get(f"/v1/responses/{made['id']}").json()["status"] == "cancelled"
    assert sdk.responses.cancel(made["id"]) == cancelled
    done = post(here, input="echo: a", background=True).json()
    settled(there, done["id"], "completed")
    assert there.post(f"/v1/responses/{done['id']}/cancel").status_code == 409


def test_deleted_elsewhere_it_ends_and_does_not_come_back(replicas: tuple[Clients, Clients], fake: Fake) -> None:
    (here, _), (there, _) = replicas
    made = post(here, input="echo: a WAIT b", background=True).json()
    settled(there, made["id"], "in_progress")
    assert there.delete(f"/v1/responses/{made['id']}").status_code == 200
    deadline = time.monotonic() + 10
    while not fake.closed:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for http in (here, there):
        assert http.get(f"/v1/responses/{made['id']}").status_code == 404


def test_a_replica_that_does_not_hear_is_told_of(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_PATIENCE", 0.3)
    store = SqliteStore(tmp_path / "db")
    with (
        serving(fake, store, flush_interval=60) as (here, _),
        serving(fake, SqliteStore(tmp_path / "db")) as (there, _),
    ):
        id = post(here, input="echo: a WAIT b", background=True).json()["id"]
        refused = there.post(f"/v1/responses/{id}/cancel")
        assert refused.status_code == 503
        assert "Another replica" in refused.json()["error"]["message"]
        assert int(refused.headers["retry-after"]) > 0


class Forgetful(SqliteStore):
    """Can't write what ends a response, for a time."""

    is_full = True
    ahead = 0.0

    def __init__(self, path: Path) -> None:
        super().__init__(path, clock=lambda: time.time() + self.ahead)

    async def rewrite(self, document: Document) -> bool:
        if self.is_full and not document.is_open:
            raise StoreError("the disk is full")
        return await super().rewrite(document)


def test_a_last_write_that_failed_leaves_nothing_in_progress(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "RECOVER_EVERY", 0.05)
    store = Forgetful(tmp_path / "db")
    with serving(fake, store) as (http, _):
        id = post(http, input="echo: a", background=True).json()["id"]
        deadline = time.monotonic() + 10
        while fake.closed == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert http.get(f"/v1/responses/{id}").json()["status"] in ("queued", "in_progress")  # until its lease ends
        store.ahead = LEASE + 1
        time.sleep(0.2)  # found, and the disk is still full
        assert http.get(f"/v1/responses/{id}").json()["status"] in ("queued", "in_progress")
        store.is_full = False
        store.ahead += LEASE + 1
        ended: dict[str, Any] = settled(http, id, "completed", "failed")
        log = events_after(http, id)
        assert log[-1]["response"]["status"] == ended["status"]
        assert [event["sequence_number"] for event in log] == list(range(len(log)))
