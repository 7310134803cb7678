"""What the server remembers: chains, lists, logs, bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from starlette.testclient import TestClient

from ixmodal.server.store import Document, MemoryStore, SqliteStore, StoreError
from tests.server.test_responses_app import Fake, events_after, events_of, post, serving, types


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


def test_a_response_is_kept_and_deleted(sdk: OpenAI) -> None:
    made = sdk.responses.create(model="demo", input="echo: a", metadata={"k": "v"})
    assert sdk.responses.retrieve(made.id) == made
    sdk.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError, match="not found"):
        sdk.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        sdk.responses.delete(made.id)


def test_what_is_not_to_be_stored_is_not(sdk: OpenAI) -> None:
    made = sdk.responses.create(model="demo", input="echo: a", store=False)
    assert made.store is False  # type: ignore[attr-defined]  # an extra field of ours
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(made.id)
    with pytest.raises(openai.BadRequestError, match="not found") as caught:
        sdk.responses.create(model="demo", input="echo: b", previous_response_id=made.id)
    assert caught.value.code == "previous_response_not_found"


def test_a_failed_request_is_not_kept(http: TestClient, fake: Fake) -> None:
    assert post(http, input="echo: FAIL").status_code == 500
    assert len(fake.requests) == 1


def test_a_chain_carries_input_and_output_but_not_instructions(sdk: OpenAI, fake: Fake) -> None:
    first = sdk.responses.create(model="demo", input="echo: one", instructions="Be brief.")
    second = sdk.responses.create(model="demo", input="think: two", previous_response_id=first.id)
    third = sdk.responses.create(
        model="demo", input="echo: three", previous_response_id=second.id, instructions="Be long."
    )
    assert fake.requests[-1].messages == [
        {"role": "system", "content": "Be long."},
        {"role": "user", "content": "echo: one"},
        {"role": "assistant", "content": "one "},
        {"role": "user", "content": "think: two"},
        {"role": "assistant", "content": "two ", "reasoning_content": "let me see"},
        {"role": "user", "content": "echo: three"},
    ]
    assert third.previous_response_id == second.id
    again = sdk.responses.create(model="demo", previous_response_id=third.id)  # no input of its own
    assert again.status == "completed"
    forked = sdk.responses.create(model="demo", input="echo: fork", previous_response_id=first.id)
    assert forked.output_text == "fork "
    assert len(fake.requests[-1].messages) == 3

    sdk.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError, match=f"'{first.id}', was deleted"):
        sdk.responses.create(model="demo", input="x", previous_response_id=third.id)


def test_a_chain_answers_calls(sdk: OpenAI, fake: Fake) -> None:
    tool: Any = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": False}
    first = sdk.responses.create(model="demo", input="call: add", tools=[tool])
    output: Any = [{"type": "function_call_output", "call_id": "call_0", "output": "5"}]
    sdk.responses.create(model="demo", input=output, previous_response_id=first.id, tools=[tool])
    assert [message["role"] for message in fake.requests[-1].messages] == ["user", "assistant", "tool"]


def test_a_chain_is_bounded(http: TestClient) -> None:
    id, codes = None, []
    for _ in range(21):
        response = post(http, input="echo: a", previous_response_id=id)
        codes.append(response.json().get("error") and response.json()["error"]["code"])
        id = response.json().get("id", id)
    assert codes == [None] * 20 + ["limit_exceeded"]


def test_items_are_referred_to(sdk: OpenAI, fake: Fake) -> None:
    first = sdk.responses.create(model="demo", input="echo: one")
    referred: Any = [
        {"role": "user", "content": "echo: one"},
        {"type": "item_reference", "id": first.output[0].id},
        {"id": first.output[0].id},
        {"role": "user", "content": "echo: two"},
    ]
    sdk.responses.create(model="demo", input=referred)
    assert [message["content"] for message in fake.requests[-1].messages] == ["echo: one", "one ", "one ", "echo: two"]
    sdk.responses.create(model="demo", input=referred[1:], previous_response_id=first.id)
    assert [message["content"] for message in fake.requests[-1].messages] == ["echo: one", "one ", "echo: two"]


def test_input_items_in_pages(sdk: OpenAI, http: TestClient) -> None:
    items: Any = [{"role": "user", "content": str(n)} for n in range(4)] + [{"role": "user", "content": "echo: a"}]
    first = sdk.responses.create(model="demo", input=items)
    second = sdk.responses.create(model="demo", input="echo: b", previous_response_id=first.id)

    def texts(**query: Any) -> list[str]:
        items: Iterable[Any] = sdk.responses.input_items.list(second.id, **query)
        return [item.content[0].text for item in items]

    oldest_first = ["0", "1", "2", "3", "echo: a", "a ", "echo: b"]
    assert texts(order="asc") == oldest_first
    assert texts() == oldest_first[::-1]
    assert texts(limit=2) == oldest_first[::-1]  # the SDK turns the pages
    assert texts(limit=3, order="asc") == oldest_first
    page = http.get(f"/v1/responses/{second.id}/input_items?limit=3&order=asc").json()
    assert (page["object"], page["has_more"]) == ("list", True)
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][2]["id"])
    assert set(page) == {"object", "data", "first_id", "last_id", "has_more"}
    rest = http.get(f"/v1/responses/{second.id}/input_items?limit=4&order=asc&after={page['last_id']}").json()
    assert (len(rest["data"]), rest["has_more"]) == (4, False)
    wrong = http.get(f"/v1/responses/{second.id}/input_items?after=msg_nope")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "after")


def test_a_kept_stream_is_replayed_from_anywhere(sdk: OpenAI, http: TestClient) -> None:
    made = events_of(post(http, input="think: a b", stream=True).text)
    id = made[0]["response"]["id"]
    assert events_after(http, id) == made
    for after in (0, 5, len(made) - 2, len(made) - 1, 999):
        assert events_after(http, id, after) == made[after + 1 :]
    whole = sdk.responses.create(model="demo", input="echo: x y")
    assert types(events_after(http, whole.id))[-1] == "completed"
    with sdk.responses.stream(response_id=whole.id, starting_after=3) as events:
        assert events.get_final_response().output_text == "x y "


def test_many_at_once(http: TestClient, fake: Fake) -> None:
    def one(n: int) -> str:
        first = post(http, input=f"echo: {n}").json()
        second = post(http, input=f"echo: {n} again", previous_response_id=first["id"], stream=n % 2 == 0)
        return str(second.text)

    with ThreadPoolExecutor(8) as pool:
        for n, text in enumerate(pool.map(one, range(40))):
            assert f"{n} again " in text
    for request in fake.requests:
        if len(request.messages) == 3:
            assert request.messages[2]["content"] == f"{request.messages[0]['content']} again"


def test_the_oldest_are_dropped() -> None:
    with serving(Fake(), MemoryStore(max_count=3)) as (http, _):
        ids = [post(http, input="echo: a").json()["id"] for _ in range(5)]
        assert [http.get(f"/v1/responses/{id}").status_code for id in ids] == [404, 404, 200, 200, 200]


def test_a_living_chain_is_not_dropped() -> None:
    with serving(Fake(), MemoryStore(max_count=3)) as (http, _):
        root = post(http, input="echo: a").json()["id"]
        tail = root
        for _ in range(2):
            post(http, input="echo: other")
            tail = post(http, input="echo: b", previous_response_id=tail).json()["id"]
        assert post(http, input="echo: c", previous_response_id=tail).status_code == 200


def test_what_can_not_be_kept_is_not_called_completed(tmp_path: Path) -> None:
    class Full(SqliteStore):
        async def put(self, document: Document) -> None:
            raise StoreError("the store is full")

    with serving(Fake(), Full(tmp_path / "db")) as (http, _):
        response = post(http, input="echo: a")
        assert (response.status_code, response.json()["error"]["message"]) == (503, "the store is full")
        events = events_of(post(http, input="echo: a", stream=True).text)
        assert types(events)[-2:] == ["error", "failed"]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert post(http, input="echo: a", store=False).status_code == 200
