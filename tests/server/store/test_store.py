"""The stores of one machine: in memory, and in an SQLite file, with what only this can."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ixmodal.server.store import Entry, MemoryStore, SqliteStore, Store, StoreError
from ixmodal.server.store.sqlite_schema import TABLES
from tests.server.store.contract import Make, SharedStoreContract, StoreContract, response


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def make(self) -> Make:
        return MemoryStore


class TestSqliteStore(SharedStoreContract):
    @pytest.fixture
    async def make(self, tmp_path: Path) -> AsyncIterator[Make]:
        made: list[Store] = []

        def _make(**bounds: Any) -> Store:
            made.append(SqliteStore(tmp_path / "a" / "db", **bounds))
            return made[-1]

        yield _make
        for store in made:
            await store.close()


def left_alive(folder: Path) -> list[Path]:
    return list(folder.glob("*.alive"))


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


async def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "db")
    connection.executescript(TABLES + "PRAGMA user_version = 1")
    connection.execute("INSERT INTO documents VALUES ('response', 'old', 1e12, NULL, x'01')")
    connection.commit()
    connection.close()
    for _ in range(2):
        store = SqliteStore(tmp_path / "db")
        await store.open()
        assert await store.get("response", "old") == response("old", b"\x01")
        await store.close()
