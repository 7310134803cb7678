from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from starlette.testclient import TestClient

from ixmodal.server.store import MemoryStore, SqliteStore
from tests.server.test_responses_app import Fake, serving


@pytest.fixture
def fake() -> Fake:
    return Fake()


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


def user(text: str) -> Any:
    return {"type": "message", "role": "user", "content": text}


def texts(sdk: OpenAI, id: str, **query: Any) -> list[str]:
    items: Iterable[Any] = sdk.conversations.items.list(id, **query)
    return [item.content[0].text for item in items]


def test_a_conversation_from_creation_to_deletion(sdk: OpenAI) -> None:
    made = sdk.conversations.create(metadata={"k": "v"}, items=[user("one")])
    assert made.id.startswith("conv_")
    assert sdk.conversations.retrieve(made.id) == made
    updated = sdk.conversations.update(made.id, metadata={"k": "w"})
    assert updated.metadata == {"k": "w"}
    assert sdk.conversations.retrieve(made.id) == updated
    assert texts(sdk, made.id) == ["one"]
    deleted = sdk.conversations.delete(made.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (made.id, True, "conversation.deleted")
    with pytest.raises(openai.NotFoundError):
        sdk.conversations.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        sdk.conversations.items.list(made.id)


def test_a_conversation_needs_no_body(http: TestClient) -> None:
    made = http.post("/v1/conversations").json()
    assert (made["object"], made["metadata"]) == ("conversation", {})
    empty = http.get(f"/v1/conversations/{made['id']}/items").json()
    assert empty == {"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": False}


def test_items_are_added_listed_got_and_removed(sdk: OpenAI) -> None:
    id = sdk.conversations.create().id
    added = sdk.conversations.items.create(id, items=[user("one"), user("two"), user("three")])
    assert (added.first_id, added.last_id) == (added.data[0].id, added.data[2].id)
    assert texts(sdk, id, order="asc", limit=2) == ["one", "two", "three"]
    assert texts(sdk, id) == ["three", "two", "one"]
    second = added.data[1]
    assert second.id is not None
    assert sdk.conversations.items.retrieve(second.id, conversation_id=id) == second
    assert sdk.conversations.items.delete(second.id, conversation_id=id).id == id
    assert texts(sdk, id) == ["three", "one"]
    with pytest.raises(openai.NotFoundError):
        sdk.conversations.items.retrieve(second.id, conversation_id=id)
    with pytest.raises(openai.NotFoundError):
        sdk.conversations.items.delete(second.id, conversation_id=id)


def test_items_of_every_kind(sdk: OpenAI) -> None:
    items: Any = [
        user("one"),
        {"type": "message", "role": "assistant", "content": "two"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "5"},
    ]
    added = sdk.conversations.items.create(sdk.conversations.create().id, items=items)
    assert [item.type for item in added.data] == [item["type"] for item in items]


def test_responses_read_a_conversation_and_add_to_it(sdk: OpenAI, fake: Fake) -> None:
    id = sdk.conversations.create(items=[user("Hello.")]).id
    first = sdk.responses.create(model="demo", input="echo: one", conversation=id)
    assert first.conversation is not None
    assert first.conversation.id == id
    with sdk.responses.stream(model="demo", input="echo: two", conversation={"id": id}) as events:
        second = events.get_final_response()
    contents = [message["content"] for message in fake.requests[-1].messages]
    assert contents == ["Hello.", "echo: one", "one ", "echo: two"]
    assert texts(sdk, id, order="asc") == [*contents, "two "]
    items: Iterable[Any] = sdk.responses.input_items.list(second.id, order="asc")
    listed = [item.content[0].text for item in items]
    assert listed == contents
    # A chain that leaves the conversation takes along what came before.
    sdk.responses.create(model="demo", input="echo: aside", previous_response_id=first.id)
    assert [message["content"] for message in fake.requests[-1].messages] == [*contents[:3], "echo: aside"]
    assert texts(sdk, id, order="asc") == [*contents, "two "]
    sdk.responses.create(model="demo", input="echo: unseen", conversation=id, store=False)
    assert texts(sdk, id)[0] == "unseen "


def test_a_failed_response_adds_nothing(http: TestClient, sdk: OpenAI) -> None:
    id = sdk.conversations.create().id
    assert http.post("/v1/responses", json={"model": "demo", "input": "echo: FAIL", "conversation": id}).is_error
    assert texts(sdk, id) == []


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("", {"metadata": {"k": 1}}, "metadata.k"),
        ("", {"colour": "red"}, "colour"),
        ("", {"items": [{"role": "user", "content": "x"}] * 21}, "items"),
        ("/{id}", {}, "metadata"),
        ("/{id}/items", {"items": []}, "items"),
        ("/{id}/items", {}, "items"),
        ("/{id}/items", {"items": [{"type": "web_search_call"}]}, "items[0].type"),
        ("/{id}/items", {"items": [{"role": "user", "content": [{"type": "input_file"}]}]}, "items[0].content"),
    ],
)
def test_a_wrong_field_is_a_400_that_names_it(http: TestClient, path: str, body: Any, param: str) -> None:
    id = http.post("/v1/conversations").json()["id"]
    response = http.post(f"/v1/conversations{path.format(id=id)}", json=body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param, response.text


def test_a_conversation_is_bounded(sdk: OpenAI) -> None:
    id = sdk.conversations.create().id
    for _ in range(2):
        sdk.conversations.items.create(id, items=[user("x")] * 20)
    with pytest.raises(openai.BadRequestError, match="limit of 40"):
        sdk.conversations.items.create(id, items=[user("x")])
