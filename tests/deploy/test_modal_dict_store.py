"""The store in Modal's Dicts, by the real client, against the service on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import modal
import pytest
from modal_proto import api_pb2

from ixmodal.deploy.modal.dict_store import DictStore
from ixmodal.server.store import LEASE, Document, Entry, Store, StoreError
from tests.server.store.contract import Clock, Make, SharedStoreContract, response
from tests.support.modal_loopback.dicts import Dicts
from tests.support.modal_loopback.service import LoopThread, Service


@pytest.fixture
def dicts() -> Dicts:
    return Dicts()


@pytest.fixture
def service(dicts: Dicts) -> Iterator[Service]:
    loop = LoopThread()
    service = Service(loop, {"ClientHello": lambda _: api_pb2.ClientHelloResponse(), **dicts.handlers()})
    yield service
    service.close()
    loop.close()


@pytest.fixture
async def make(service: Service) -> AsyncIterator[Make]:
    client = modal.Client(service.url, api_pb2.CLIENT_TYPE_CLIENT, ("ak-loopback", "as-loopback"))
    async with client:

        def _make(**bounds: Any) -> Store:
            return DictStore(
                "state", **{"max_count": 1000, "max_age": 1e9, "client": client, "prune_every": 0, **bounds}
            )

        yield _make


class TestDictStore(SharedStoreContract):
    pass


async def test_a_deleted_document_leaves_nothing_but_its_turns(make: Make, dicts: Dicts) -> None:
    store = make()
    await store.put(response("a", b"", "key", is_open=True))
    await store.append("response", "a", [Entry(str(n), b"") for n in range(3)])
    await store.append("response", "a", [Entry("last", b"")])
    await store.end("response", "a")
    await store.delete("response", "a")
    assert {name: len(content) for name, content in dicts.content.items()} == {
        "di-state": 2,  # the writer's turn and the one that deleted it, which Modal drops after a week
        "di-state-used": 0,
        "di-state-open": 0,
    }


async def test_what_a_removed_entry_held_is_gone(make: Make, dicts: Dicts) -> None:
    store = make()
    await store.put(Document("conversation", "c", b""))
    await store.append("conversation", "c", [Entry("1", b"a secret"), Entry("2", b"stays")])
    assert await store.remove("conversation", "c", "1")
    values = b"".join(dicts.content["di-state"].values())
    assert b"a secret" not in values
    assert b"stays" in values
    await store.append("conversation", "c", [Entry("1", b"again")])
    assert [entry.id for entry in await store.entries("conversation", "c")] == ["2", "1"]


async def test_a_long_log_is_read_whole_by_who_did_not_write_it(make: Make) -> None:
    writer, reader = make(), make()
    await writer.put(response("a"))
    for n in range(20):
        await writer.append("response", "a", [Entry(str(n), b"")])
    assert [entry.id for entry in await reader.entries("response", "a")] == [str(n) for n in range(20)]
    assert await reader.append("response", "a", [Entry("20", b"")])
    assert await writer.append("response", "a", [Entry("21", b"")])
    assert [entry.id for entry in await reader.entries("response", "a")][-2:] == ["20", "21"]


async def test_who_died_while_closing_a_document_is_followed(make: Make, dicts: Dicts) -> None:
    clock = Clock()
    dying, other = make(clock=clock), make(clock=clock)
    await dying.put(response("a", is_open=True))

    async def dies(*_: Any) -> None:
        raise ConnectionError

    dying._write = dies  # type: ignore[attr-defined]  # the fault
    with pytest.raises(StoreError):
        await dying.rewrite(response("a", b"done"))
    assert await other.orphans("response") == []
    clock.now += LEASE + 1
    assert [document.id for document in await other.orphans("response")] == ["a"]
    assert await other.rewrite(response("a", b"failed"))
    assert dicts.content["di-state-open"] == {}


async def test_counts_are_bounded_now_and_then(make: Make) -> None:
    clock = Clock()
    store = make(max_count=2, clock=clock, prune_every=60)
    for id in "abcd":
        await store.put(response(id))
    assert await store.get("response", "a")
    clock.now += 61
    await store.put(response("e"))
    assert [id for id in "abcde" if await store.get("response", id)] == ["d", "e"]


async def test_an_outage_is_told_in_words(make: Make, service: Service) -> None:
    store = make()
    await store.put(response("a"))
    service._handlers = {}
    with pytest.raises(StoreError, match="can't be reached now"):
        await store.get("response", "a")
