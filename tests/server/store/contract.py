"""What every store must do. A test module subclasses these with a fixture `make` for its own store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ixmodal.server.store import LEASE, Document, Entry, Store

Make = Callable[..., Store]
"""A store that is closed after the test; all that one test makes share what they keep, if they can."""


class Clock:
    """Time that passes when told to; every look at it is a little later."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def response(id: str, body: bytes = b"x", *keys: str, is_open: bool = False) -> Document:
    return Document("response", id, body, keys, is_open)


class StoreContract:
    """For a store of one process, too."""

    @pytest.fixture
    async def store(self, make: Make) -> Store:
        store = make()
        await store.open()
        return store

    async def test_what_is_put_is_got_until_it_is_deleted(self, store: Store) -> None:
        assert await store.get("response", "a") is None
        document = response("a", b"\x00\xff", "k1", "k2", is_open=True)
        await store.put(document)
        assert await store.get("response", "a") == document
        assert await store.get("conversation", "a") is None
        await store.put(response("a", b"new"))
        assert await store.get("response", "a") == response("a", b"new")
        assert await store.delete("response", "a")
        assert not await store.delete("response", "a")
        assert await store.get("response", "a") is None

    async def test_keys_find_the_last_document_written_with_them(self, store: Store) -> None:
        await store.put(response("a", b"a", "k", "old"))
        await store.put(response("b", b"b", "k"))
        await store.put(response("a", b"a2", "new"))
        found = {key: await store.find(key) for key in ("k", "old", "new", "nothing")}
        assert {key: document and document.id for key, document in found.items()} == {
            "k": "b",
            "old": None,
            "new": "a",
            "nothing": None,
        }
        await store.delete("response", "b")
        assert await store.find("k") is None

    async def test_entries_keep_their_order_and_go_with_their_document(self, store: Store) -> None:
        assert not await store.append("conversation", "c", [Entry("1", b"")])
        await store.put(Document("conversation", "c", b""))
        assert await store.append("conversation", "c", [Entry("9", b"nine"), Entry("1", b"one")])
        assert await store.append("conversation", "c", [Entry("9", b"again"), Entry("5", b"five")])
        assert await store.entries("conversation", "c") == [
            Entry("9", b"nine"),
            Entry("1", b"one"),
            Entry("5", b"five"),
        ]
        await store.put(Document("conversation", "c", b"changed"))
        assert await store.remove("conversation", "c", "1")
        assert not await store.remove("conversation", "c", "1")
        assert [entry.id for entry in await store.entries("conversation", "c")] == ["9", "5"]
        await store.delete("conversation", "c")
        await store.put(Document("conversation", "c", b""))
        assert await store.entries("conversation", "c") == []

    async def test_the_least_recently_used_go_first_but_never_open_ones(self, make: Make) -> None:
        store = make(max_count=3)
        await store.open()
        await store.put(response("open", is_open=True))
        for id in "abc":
            await store.put(response(id, b"", f"key-{id}"))
        await store.put(Document("conversation", "c", b""))  # another kind has its own bound
        await store.touch("response", ["a", "nothing"])
        await store.put(response("d"))
        left = {id for id in ("open", *"abcd") if await store.get("response", id)}
        assert left == {"open", "a", "c", "d"}
        assert await store.find("key-b") is None
        assert await store.get("conversation", "c")

    async def test_what_was_not_used_for_too_long_is_gone_at_once(self, make: Make) -> None:
        clock = Clock()
        store = make(max_age=10, clock=clock)
        await store.open()
        await store.put(response("open", is_open=True))
        await store.put(response("old", b"", "key"))
        await store.append("response", "old", [Entry("1", b"")])
        clock.now += 6
        await store.put(response("young"))
        clock.now += 6
        assert await store.get("response", "old") is None
        assert await store.find("key") is None
        assert await store.entries("response", "old") == []
        assert not await store.append("response", "old", [Entry("2", b"")])
        assert not await store.delete("response", "old")
        assert await store.get("response", "young")
        assert await store.get("response", "open")

    async def test_concurrent_writers_lose_nothing(self, store: Store) -> None:
        await store.put(Document("conversation", "c", b""))

        async def write(n: int) -> None:
            await store.put(response(f"r{n}", b"%d" % n, f"k{n}"))
            await store.append("conversation", "c", [Entry(f"{n}-{i}", b"") for i in range(3)])

        await asyncio.gather(*(write(n) for n in range(40)))
        ids = [entry.id for entry in await store.entries("conversation", "c")]
        assert len(ids) == 120
        for at in range(0, 120, 3):  # each append is whole
            assert [id.split("-")[1] for id in ids[at : at + 3]] == ["0", "1", "2"]
            assert len({id.split("-")[0] for id in ids[at : at + 3]}) == 1
        assert all([await store.find(f"k{n}") for n in range(40)])

    async def test_a_store_has_no_orphans_of_its_own(self, store: Store) -> None:
        await store.put(response("a", is_open=True))
        assert await store.orphans("response") == []

    async def test_an_open_document_is_rewritten_until_it_is_closed(self, store: Store) -> None:
        assert not await store.rewrite(response("a"))
        await store.put(response("a", b"queued", is_open=True))
        await store.append("response", "a", [Entry("1", b"one")])
        assert await store.rewrite(response("a", b"running", is_open=True))
        assert await store.rewrite(response("a", b"done", "key"))
        assert await store.get("response", "a") == await store.find("key") == response("a", b"done", "key")
        assert await store.entries("response", "a") == [Entry("1", b"one")]
        assert not await store.rewrite(response("a", b"late"))
        await store.put(response("b", is_open=True))
        await store.delete("response", "b")
        assert not await store.rewrite(response("b", b"late"))
        assert await store.get("response", "b") is None

    async def test_who_holds_an_open_document_hears_what_became_of_it(self, store: Store) -> None:
        for id in "abc":
            await store.put(response(id, is_open=True))
        assert await store.hold("response", ["a", "b", "c"]) == {}
        assert await store.end("response", "a")
        await store.delete("response", "b")
        await store.rewrite(response("c"))
        assert not await store.end("response", "c")
        assert not await store.end("response", "nothing")
        assert await store.hold("response", ["a", "b", "c"]) == {"a": "ending", "b": "lost", "c": "lost"}
        assert await store.rewrite(response("a", b"still running", is_open=True))
        assert await store.hold("response", ["a"]) == {"a": "ending"}
        await store.put(response("a", is_open=True))  # another one, of which nobody asked anything
        assert await store.hold("response", ["a"]) == {}

    async def test_what_is_not_held_is_an_orphan_once(self, make: Make) -> None:
        clock = Clock()
        store = make(clock=clock)
        await store.open()
        for id in ("held", "forgotten"):
            await store.put(response(id, is_open=True))
        await store.put(response("closed"))
        clock.now += LEASE - 1
        assert await store.hold("response", ["held"]) == {}
        assert await store.orphans("response") == []
        clock.now += 2
        assert [document.id for document in await store.orphans("response")] == ["forgotten"]
        assert await store.orphans("response") == []
        assert await store.rewrite(response("forgotten", b"failed"))
        assert await store.get("response", "forgotten") == response("forgotten", b"failed")


class SharedStoreContract(StoreContract):
    """For a store that processes share."""

    async def test_one_reads_continues_and_deletes_what_another_wrote(self, make: Make) -> None:
        one, other = make(), make()
        await one.open()
        await other.open()
        await one.put(response("a", b"body", "key"))
        assert await other.find("key") == response("a", b"body", "key")
        assert await other.append("response", "a", [Entry("1", b"")])
        await one.append("response", "a", [Entry("2", b"")])
        assert [entry.id for entry in await other.entries("response", "a")] == ["1", "2"]
        assert await other.delete("response", "a")
        assert await one.get("response", "a") is None

    async def test_only_its_writer_rewrites_and_others_may_ask_for_the_end(self, make: Make) -> None:
        one, other = make(), make()
        await one.open()
        await other.open()
        await one.put(response("a", is_open=True))
        assert not await other.rewrite(response("a", b"theirs"))
        assert await other.hold("response", ["a"]) == {"a": "lost"}
        assert await other.end("response", "a")
        assert await one.hold("response", ["a"]) == {"a": "ending"}
        assert await one.rewrite(response("a", b"mine"))

    async def test_of_many_one_adopts_what_its_writer_left(self, make: Make) -> None:
        clock = Clock()
        writer, *others = (make(clock=clock) for _ in range(4))
        for store in (writer, *others):
            await store.open()
        await writer.put(response("a", b"half", "key", is_open=True))
        clock.now += LEASE + 1
        found = await asyncio.gather(*(store.orphans("response") for store in others))
        assert sorted(len(documents) for documents in found) == [0, 0, 1]
        assert await writer.hold("response", ["a"]) == {"a": "lost"}
        assert not await writer.rewrite(response("a", b"late"))
        adopter = next(store for store, documents in zip(others, found, strict=True) if documents)
        assert await adopter.rewrite(response("a", b"failed"))
        assert await writer.get("response", "a") == response("a", b"failed")

    async def test_concurrent_replicas_lose_nothing(self, make: Make) -> None:
        stores = [make() for _ in range(3)]
        for store in stores:
            await store.open()
        await stores[0].put(Document("conversation", "c", b""))
        work = [
            store.append("conversation", "c", [Entry(f"{at}-{n}-{i}", b"") for i in range(2)])
            for at, store in enumerate(stores)
            for n in range(8)
        ]
        assert all(await asyncio.gather(*work))
        ids = [entry.id for entry in await stores[1].entries("conversation", "c")]
        assert len(set(ids)) == len(ids) == 48
        for at in range(0, 48, 2):  # each append is whole
            assert ids[at].rpartition("-")[0] == ids[at + 1].rpartition("-")[0]
