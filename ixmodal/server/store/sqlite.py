"""A store in one SQLite file: nothing to install, and a restart loses nothing.

Several processes may share the file on one machine. Each holds a lock file while it lives, so that a document which a
dead one left open can be told from one that another is writing.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from ixmodal.server.store.base import DEFAULT_MAX_AGE, DEFAULT_MAX_COUNT, Document, Entry, Kind, StoreError

_VERSION = 1
_SCHEMA = f"""
CREATE TABLE documents (
    kind TEXT NOT NULL, id TEXT NOT NULL, used REAL NOT NULL, owner TEXT, body BLOB NOT NULL, UNIQUE (kind, id)
);
CREATE INDEX documents_by_use ON documents (kind, used) WHERE owner IS NULL;
CREATE INDEX documents_open ON documents (kind, owner) WHERE owner IS NOT NULL;
CREATE TABLE keys (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL,
    FOREIGN KEY (kind, id) REFERENCES documents (kind, id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX keys_by_document ON keys (kind, id);
CREATE TABLE entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL, document TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL,
    UNIQUE (kind, document, id),
    FOREIGN KEY (kind, document) REFERENCES documents (kind, id) ON DELETE CASCADE
);
PRAGMA user_version = {_VERSION};
"""
_PRAGMAS = "journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "secure_delete = ON"
_WRITE = """
INSERT INTO documents (kind, id, body, used, owner) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, used = excluded.used, owner = excluded.owner
"""
_WRITE_KEY = """
INSERT INTO keys (key, kind, id) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET kind = excluded.kind, id = excluded.id
"""
_PRUNE_COUNT = """
DELETE FROM documents WHERE rowid IN
(SELECT rowid FROM documents WHERE kind = ?1 AND owner IS NULL ORDER BY used LIMIT
    max(0, (SELECT count(*) FROM documents WHERE kind = ?1 AND owner IS NULL) - ?2))
"""
_PRUNE_AGE = "DELETE FROM documents WHERE kind = ? AND owner IS NULL AND used <= ?"
_CURRENT = "(owner IS NOT NULL OR used > ?)"
_HAS = f"SELECT 1 FROM documents WHERE kind = ? AND id = ? AND {_CURRENT}"  # noqa: S608  # constants
_READ = f"SELECT body, owner FROM documents WHERE kind = ? AND id = ? AND {_CURRENT}"  # noqa: S608  # constants

Result = TypeVar("Result")


class SqliteStore:
    """Keeps documents in a file; see `Store`.

    Args:
        path: the file; it and its directory are made when they are missing, readable by their owner only.
        max_count: documents of each kind at most.
        max_age: seconds after its last use that a document is kept.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        path: Path,
        max_count: int = DEFAULT_MAX_COUNT,
        max_age: float = DEFAULT_MAX_AGE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._max_count = max_count
        self._max_age = max_age
        self._clock = clock
        self._owner = ""
        self._alive: FileLock | None = None
        self._mutex = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file, or make it."""
        await self._run(self._open)

    async def close(self) -> None:
        """Close the file; what this process left open has no writer from now on."""
        await asyncio.to_thread(self._close)

    async def put(self, document: Document) -> None:
        """Write a document."""
        await self._run(self._put, document)

    async def get(self, kind: Kind, id: str) -> Document | None:
        """The document, or None."""
        return await self._run(self._get, kind, id)

    async def find(self, key: str) -> Document | None:
        """The document with that key, or None."""
        return await self._run(self._find, key)

    async def delete(self, kind: Kind, id: str) -> bool:
        """Delete a document with its entries."""
        return await self._run(self._delete, kind, id)

    async def touch(self, kind: Kind, ids: Sequence[str]) -> None:
        """Count the documents as used now."""
        await self._run(self._touch, kind, ids)

    async def append(self, kind: Kind, id: str, entries: Sequence[Entry]) -> bool:
        """Add entries at the end."""
        return await self._run(self._append, kind, id, entries)

    async def entries(self, kind: Kind, id: str) -> list[Entry]:
        """All entries in their order."""
        return await self._run(self._entries, kind, id)

    async def remove(self, kind: Kind, id: str, entry_id: str) -> bool:
        """Remove an entry."""
        return await self._run(self._remove, kind, id, entry_id)

    async def orphans(self, kind: Kind, /) -> list[Document]:
        """Open documents whose process is gone."""
        return await self._run(self._orphans, kind)

    async def _run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.to_thread(self._guarded, work, *arguments)

    def _guarded(self, work: Callable[..., Result], *arguments: Any) -> Result:
        try:
            with self._mutex:
                return work(*arguments)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the store {self.path.name} can't be used: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            raise StoreError(f"the store {self.path.name} is closed")
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:  # commits, or rolls back
            yield self._connection

    def _open(self) -> None:
        if self._connection is not None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.touch(mode=0o600)
        self._owner = uuid.uuid4().hex
        self._alive = self._lock_of(self._owner)
        self._alive.acquire(blocking=False)
        connection = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            self._migrate(connection)
        except BaseException:
            connection.close()
            self._release()
            raise
        self._connection = connection
        with self._transaction() as opened:
            for kind in ("response", "conversation"):
                self._prune(opened, kind)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise StoreError(
                    f"the store {self.path} has version {version}, this program reads {_VERSION}; name another file"
                )
            for statement in _SCHEMA.split(";") if version == 0 else ():
                connection.execute(statement)

    def _close(self) -> None:
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
                self._release()

    def _release(self) -> None:
        if self._alive is not None:
            self._alive.release()
            Path(self._alive.lock_file).unlink(missing_ok=True)

    def _put(self, document: Document) -> None:
        name = (document.kind, document.id)
        with self._transaction() as connection:
            owner = self._owner if document.is_open else None
            connection.execute(_WRITE, (*name, document.body, self._clock(), owner))
            connection.execute("DELETE FROM keys WHERE kind = ? AND id = ?", name)
            connection.executemany(_WRITE_KEY, [(key, *name) for key in document.keys])
            self._prune(connection, document.kind)

    def _prune(self, connection: sqlite3.Connection, kind: str) -> None:
        connection.execute(_PRUNE_AGE, (kind, self._oldest))
        connection.execute(_PRUNE_COUNT, (kind, self._max_count))

    @property
    def _oldest(self) -> float:
        return self._clock() - self._max_age

    def _get(self, kind: Kind, id: str) -> Document | None:
        with self._transaction() as connection:
            row = connection.execute(_READ, (kind, id, self._oldest)).fetchone()
            if row is None:
                return None
            keys = connection.execute("SELECT key FROM keys WHERE kind = ? AND id = ? ORDER BY key", (kind, id))
            return Document(kind, id, row[0], tuple(key for (key,) in keys), row[1] is not None)

    def _find(self, key: str) -> Document | None:
        with self._transaction() as connection:
            row = connection.execute("SELECT kind, id FROM keys WHERE key = ?", (key,)).fetchone()
        return self._get(*row) if row else None

    def _delete(self, kind: Kind, id: str) -> bool:
        with self._transaction() as connection:
            found = connection.execute(_HAS, (kind, id, self._oldest)).fetchone()
            connection.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, id))
            return found is not None

    def _touch(self, kind: Kind, ids: Sequence[str]) -> None:
        with self._transaction() as connection:
            rows = [(self._clock(), kind, id) for id in ids]
            connection.executemany("UPDATE documents SET used = ? WHERE kind = ? AND id = ?", rows)

    def _append(self, kind: Kind, id: str, entries: Sequence[Entry]) -> bool:
        with self._transaction() as connection:
            if connection.execute(_HAS, (kind, id, self._oldest)).fetchone() is None:
                return False
            connection.executemany(
                "INSERT INTO entries (kind, document, id, body) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [(kind, id, entry.id, entry.body) for entry in entries],
            )
            connection.execute("UPDATE documents SET used = ? WHERE kind = ? AND id = ?", (self._clock(), kind, id))
            return True

    def _entries(self, kind: Kind, id: str) -> list[Entry]:
        with self._transaction() as connection:
            if connection.execute(_HAS, (kind, id, self._oldest)).fetchone() is None:
                return []
            rows = connection.execute(
                "SELECT id, body FROM entries WHERE kind = ? AND document = ? ORDER BY number", (kind, id)
            )
            return [Entry(*row) for row in rows]

    def _remove(self, kind: Kind, id: str, entry_id: str) -> bool:
        with self._transaction() as connection:
            removed = connection.execute(
                "DELETE FROM entries WHERE kind = ? AND document = ? AND id = ?", (kind, id, entry_id)
            )
            return removed.rowcount > 0

    def _orphans(self, kind: Kind) -> list[Document]:
        with self._transaction() as connection:
            query = "SELECT DISTINCT owner FROM documents WHERE kind = ? AND owner IS NOT NULL"
            owners = [owner for (owner,) in connection.execute(query, (kind,))]
            dead = [owner for owner in owners if owner != self._owner and self._is_dead(owner)]
            query = "SELECT id, body FROM documents WHERE kind = ? AND owner = ?"
            rows = [row for owner in dead for row in connection.execute(query, (kind, owner))]
        return [Document(kind, id, body, is_open=True) for id, body in rows]

    def _lock_of(self, owner: str) -> FileLock:
        return FileLock(f"{self.path}.{owner}.alive", thread_local=False)

    def _is_dead(self, owner: str) -> bool:
        lock = self._lock_of(owner)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
        return True
