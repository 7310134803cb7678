"""What every store must do, on each of them, and what only the one on disk can."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ixmodal.server.store import Document, Entry, MemoryStore, SqliteStore, Store, StoreError

Make = Callable[..., Store]


class Clock:
    """Time that passes when told to; every look at it is a little later."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture(params=["memory", "sqlite"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Store] = []

    def _make(**bounds: object) -> Store:
        store = MemoryStore(**bounds) if request.param == "memory" else SqliteStore(tmp_path / "a" / "db", **bounds)  # type: ignore[arg-type]
        made.append(store)
        return store

    yield _make
    for store in made:
        await store.close()


@pytest.fixture
async def store(make: Make) -> Store:
    store = make()
    await store.open()
    return store


def left_alive(folder: Path) -> list[Path]:
    return list(folder.glob("*.alive"))


def response(id: str, body: bytes = b"x", *keys: str, is_open: bool = False) -> Document:
    return Document("response", id, body, keys, is_open)


async def test_what_is_put_is_got_until_it_is_deleted(store: Store) -> None:
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


async def test_keys_find_the_last_document_written_with_them(store: Store) -> None:
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


async def test_entries_keep_their_order_and_go_with_their_document(store: Store) -> None:
    assert not await store.append("conversation", "c", [Entry("1", b"")])
    await store.put(Document("conversation", "c", b""))
    assert await store.append("conversation", "c", [Entry("9", b"nine"), Entry("1", b"one")])
    assert await store.append("conversation", "c", [Entry("9", b"again"), Entry("5", b"five")])
    assert await store.entries("conversation", "c") == [Entry("9", b"nine"), Entry("1", b"one"), Entry("5", b"five")]
    await store.put(Document("conversation", "c", b"changed"))
    assert await store.remove("conversation", "c", "1")
    assert not await store.remove("conversation", "c", "1")
    assert [entry.id for entry in await store.entries("conversation", "c")] == ["9", "5"]
    await store.delete("conversation", "c")
    await store.put(Document("conversation", "c", b""))
    assert await store.entries("conversation", "c") == []


async def test_the_least_recently_used_go_first_but_never_open_ones(make: Make) -> None:
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


async def test_what_was_not_used_for_too_long_is_gone_at_once(make: Make) -> None:
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


async def test_concurrent_writers_lose_nothing(store: Store) -> None:
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


async def test_a_store_has_no_orphans_of_its_own(store: Store) -> None:
    await store.put(response("a", is_open=True))
    assert await store.orphans("response") == []


async def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "db")
    await first.open()
    await first.put(response("a", b"body", "key", is_open=True))
    await first.append("response", "a", [Entry("1", b"one")])
    await first.close()
    await first.close()
    with pytest.raises(StoreError, match="closed"):
        await first.get("response", "a")
    for again in (SqliteStore(tmp_path / "db"), first):
        await again.open()
        assert await again.get("response", "a") == response("a", b"body", "key", is_open=True)
        assert await again.entries("response", "a") == [Entry("1", b"one")]
        assert [document.id for document in await again.orphans("response")] == ["a"]
        assert await again.orphans("conversation") == []
        await again.close()
    assert left_alive(tmp_path) == []


async def test_what_a_living_process_writes_is_no_orphan_and_what_a_killed_one_wrote_is(tmp_path: Path) -> None:
    script = f"""
import asyncio, time
from pathlib import Path
from ixmodal.server.store import Document, SqliteStore
async def main():
    store = SqliteStore(Path({str(tmp_path / "db")!r}))
    await store.open()
    await store.put(Document("response", "theirs", b"", is_open=True))
    print("written", flush=True)
    time.sleep(60)
asyncio.run(main())
"""
    store = SqliteStore(tmp_path / "db")
    await store.open()
    await store.put(response("mine", is_open=True))
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)  # noqa: ASYNC220  # quick
    try:
        assert other.stdout is not None
        assert await asyncio.to_thread(other.stdout.readline) == b"written\n"
        assert await store.orphans("response") == []
    finally:
        other.kill()
        other.communicate()
    assert [document.id for document in await store.orphans("response")] == ["theirs"]
    await store.close()


async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "deep" / "db")
    await store.open()
    assert (tmp_path / "deep" / "db").stat().st_mode & 0o077 == 0
    await store.close()


async def test_a_file_that_is_no_store_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, " * 100)
    with pytest.raises(StoreError, match="the store text can't be used"):
        await SqliteStore(tmp_path / "text").open()
    connection = sqlite3.connect(tmp_path / "newer")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="version 99"):
        await SqliteStore(tmp_path / "newer").open()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        await SqliteStore(tmp_path / "file" / "db").open()
    assert left_alive(tmp_path) == []
