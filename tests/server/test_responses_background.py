"""Responses in the background: queued, resumed, cancelled, and what a restart makes of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from starlette.testclient import TestClient

from ixmodal.server.store import Document, MemoryStore, SqliteStore
from tests.server.test_responses_app import Fake, events_after, events_of, post, serving, settled, types


@pytest.fixture
def fake() -> Iterator[Fake]:
    fake = Fake()
    yield fake
    fake.gate.set()


@pytest.fixture(params=["memory", "sqlite"])
def both(fake: Fake, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[TestClient, OpenAI]]:
    store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "db")
    with serving(fake, store) as clients:
        yield clients


@pytest.fixture
def http(both: tuple[TestClient, OpenAI]) -> TestClient:
    return both[0]


@pytest.fixture
def sdk(both: tuple[TestClient, OpenAI]) -> OpenAI:
    return both[1]


def test_background_is_queued_then_done(sdk: OpenAI, http: TestClient, fake: Fake) -> None:
    made = sdk.responses.create(model="demo", input="echo: a WAIT b", background=True)
    assert (made.status, made.output, made.background) == ("queued", [], True)
    settled(http, made.id, "in_progress")
    with pytest.raises(openai.BadRequestError, match="still in progress"):
        sdk.responses.create(model="demo", input="x", previous_response_id=made.id)
    fake.gate.set()
    assert settled(http, made.id, "completed")["output"][0]["content"][0]["text"] == "a b "
    names = types(events_after(http, made.id))
    assert names[:3] == ["created", "queued", "in_progress"]
    assert names[-1] == "completed"
    assert events_after(http, made.id)[0]["response"]["status"] == "queued"
    later = sdk.responses.create(model="demo", input="echo: c", previous_response_id=made.id)
    assert later.output_text == "c "


def test_background_goes_on_without_its_reader_and_is_resumed(http: TestClient, fake: Fake) -> None:
    body = {"model": "demo", "input": "echo: a WAIT b", "background": True, "stream": True}
    taken: list[bytes] = []
    with http.stream("POST", "/v1/responses", json=body) as response:
        for line in response.iter_lines():
            taken.append(line.encode())
            if "output_text.delta" in line:
                break
    id = next(line for line in taken if b"resp_" in line).split(b'"id":"')[1].split(b'"')[0].decode()
    settled(http, id, "in_progress")
    threading.Timer(0.1, fake.gate.set).start()
    live = events_after(http, id, 5)
    assert types(live)[-1] == "completed"
    assert live[0]["sequence_number"] == 6
    everything = events_after(http, id)
    assert everything[6:] == live
    assert [event["sequence_number"] for event in everything] == list(range(len(everything)))


def test_background_fails_honestly(http: TestClient, fake: Fake) -> None:
    failed = post(http, input="echo: a FAIL", background=True).json()
    response = settled(http, failed["id"], "failed")
    assert response["error"] == {"code": "server_error", "message": "the engine failed"}
    assert types(events_after(http, failed["id"]))[-2:] == ["error", "failed"]
    fake.longest = 0
    refused = post(http, input="echo: a", background=True).json()
    assert settled(http, refused["id"], "failed")["error"]["code"] == "invalid_prompt"
    assert types(events_after(http, refused["id"])) == ["created", "queued", "error", "failed"]


def test_background_waits_for_a_busy_engine(http: TestClient, fake: Fake) -> None:
    fake.busy = 3
    made = post(http, input="echo: a", background=True).json()
    settled(http, made["id"], "completed")
    assert len(fake.requests) == 4


def test_background_is_bounded() -> None:
    fake = Fake()
    with serving(fake, max_background=2) as (http, _):
        ids = [post(http, input="echo: WAIT", background=True).json()["id"] for _ in range(2)]
        third = post(http, input="echo: a", background=True)
        assert (third.status_code, third.headers["retry-after"]) == (429, "5")
        assert post(http, input="echo: a").status_code == 200
        fake.gate.set()
        for id in ids:
            settled(http, id, "completed")
        assert post(http, input="echo: a", background=True).status_code == 200


def test_cancelling(sdk: OpenAI, http: TestClient, fake: Fake) -> None:
    made = sdk.responses.create(model="demo", input="echo: a WAIT b", background=True)
    settled(http, made.id, "in_progress")
    cancelled = sdk.responses.cancel(made.id)
    assert cancelled.status == "cancelled"
    assert fake.closed == 1
    assert sdk.responses.cancel(made.id) == cancelled
    assert sdk.responses.retrieve(made.id) == cancelled
    last = events_after(http, made.id)[-1]
    assert (last["type"], last["response"]["status"]) == ("response.incomplete", "cancelled")
    done = post(http, input="echo: a", background=True).json()
    settled(http, done["id"], "completed")
    late = http.post(f"/v1/responses/{done['id']}/cancel")
    assert (late.status_code, late.headers["x-should-retry"]) == (409, "false")
    plain = sdk.responses.create(model="demo", input="echo: a")
    with pytest.raises(openai.BadRequestError, match="Only background"):
        sdk.responses.cancel(plain.id)


def test_deleting_what_is_in_progress_ends_it(http: TestClient, fake: Fake) -> None:
    made = post(http, input="echo: a WAIT b", background=True).json()
    settled(http, made["id"], "in_progress")
    assert http.delete(f"/v1/responses/{made['id']}").json() == {
        "id": made["id"],
        "object": "response",
        "deleted": True,
    }
    assert http.get(f"/v1/responses/{made['id']}").status_code == 404
    assert fake.closed == 1


def test_a_restart_loses_nothing_and_ends_what_was_in_progress(tmp_path: Path) -> None:
    fake, path = Fake(), tmp_path / "db"
    with serving(fake, SqliteStore(path)) as (http, sdk):
        kept = sdk.responses.create(model="demo", input="echo: kept")
        made = events_of(post(http, input="echo: a b", stream=True).text)
        stopped = post(http, input="think: a WAIT b", background=True).json()["id"]
        settled(http, stopped, "in_progress")
    with serving(fake, SqliteStore(path)) as (http, sdk):
        assert sdk.responses.retrieve(kept.id) == kept
        assert events_after(http, made[0]["response"]["id"]) == made
        later = sdk.responses.create(model="demo", input="echo: later", previous_response_id=kept.id)
        assert later.output_text == "later "
        response = settled(http, stopped, "failed")
        assert response["error"]["code"] == "server_error"
        assert "stopped while" in response["error"]["message"]
        assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
        assert types(events_after(http, stopped))[-2:] == ["error", "failed"]


def test_what_a_crash_left_open_has_failed(tmp_path: Path) -> None:
    fake, path = Fake(), tmp_path / "db"

    class Crashing(SqliteStore):
        """Forgets to write what comes after the crash."""

        crashed = False

        async def put(self, document: Document) -> None:
            if not self.crashed:
                await super().put(document)

        async def append(self, *arguments: Any) -> bool:
            return not self.crashed and await super().append(*arguments)

        async def rewrite(self, document: Document) -> bool:
            return self.crashed or await super().rewrite(document)

    store = Crashing(path)
    with serving(fake, store) as (http, _):
        id = post(http, input="think: a WAIT b", background=True).json()["id"]
        settled(http, id, "in_progress")
        time.sleep(0.2)  # a flush
        store.crashed = True
    with serving(fake, SqliteStore(path)) as (http, sdk):
        response = sdk.responses.retrieve(id)
        assert response.status == "failed"
        assert response.error is not None
        assert "ended while" in response.error.message
        assert [item.type for item in response.output] == ["reasoning"]  # the items that were whole
        events = events_after(http, id)
        assert types(events)[-2:] == ["error", "failed"]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        with pytest.raises(openai.ConflictError):
            sdk.responses.cancel(id)
