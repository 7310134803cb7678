"""A store in one SQLite file: nothing to install, and a restart loses nothing.

Several processes may share the file on one machine. Each holds a lock file while it lives, so that a document which a
dead one left open can be told from one that another is writing.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ixmodal.server.store.alive import Alive
from ixmodal.server.store.base import DEFAULT_MAX_AGE, DEFAULT_MAX_COUNT, LEASE, Document, Entry, Fate, Kind, StoreError
from ixmodal.server.store.sqlite_schema import VERSION, migrate

_PRAGMAS = "journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "secure_delete = ON"
_WRITE = """
INSERT INTO documents (kind, id, body, used, held, owner) VALUES (?1, ?2, ?3, ?4, ?4, ?5)
ON CONFLICT (kind, id) DO UPDATE SET
    body = excluded.body, used = excluded.used, held = excluded.held, owner = excluded.owner, ending = 0
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
_REWRITE = """
UPDATE documents SET body = ?3, used = ?4, held = ?4, owner = ?5 WHERE kind = ?1 AND id = ?2 AND owner = ?6
"""
_HOLD = "UPDATE documents SET held = ? WHERE kind = ? AND id = ? AND owner = ? RETURNING ending"
_END = "UPDATE documents SET ending = 1 WHERE kind = ? AND id = ? AND owner IS NOT NULL"
_OPEN = "SELECT DISTINCT owner FROM documents WHERE kind = ? AND owner IS NOT NULL"
_ADOPT = """
UPDATE documents SET owner = ?1, held = ?2 WHERE kind = ?3 AND owner IS NOT NULL AND (owner = ?4 OR held <= ?5)
RETURNING id, body
"""
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
        self._alive: Alive | None = None
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

    async def rewrite(self, document: Document) -> bool:
        """Write over an open document of this process."""
        return await self._run(self._rewrite, document)

    async def hold(self, kind: Kind, ids: Sequence[str]) -> dict[str, Fate]:
        """Go on writing open documents."""
        return await self._run(self._hold, kind, ids)

    async def end(self, kind: Kind, id: str) -> bool:
        """Ask for the end of an open document."""
        return await self._run(self._end, kind, id)

    async def orphans(self, kind: Kind, /) -> list[Document]:
        """Open documents whose process is gone, or has not held them."""
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
        self._alive = Alive(self.path)
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
        if (version := migrate(connection)) > VERSION:
            raise StoreError(
                f"the store {self.path} has version {version}, this program reads {VERSION}; name another file"
            )

    def _close(self) -> None:
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
                self._release()

    def _release(self) -> None:
        if self._alive is not None:
            self._alive.release()

    @property
    def _owner(self) -> str:
        return self._alive.id if self._alive else ""

    def _put(self, document: Document) -> None:
        owner = self._owner if document.is_open else None
        self._write(document, _WRITE, owner)

    def _rewrite(self, document: Document) -> bool:
        owner = self._owner if document.is_open else None
        return self._write(document, _REWRITE, owner, self._owner)

    def _write(self, document: Document, statement: str, *owners: str | None) -> bool:
        name = (document.kind, document.id)
        with self._transaction() as connection:
            if not connection.execute(statement, (*name, document.body, self._clock(), *owners)).rowcount:
                return False
            connection.execute("DELETE FROM keys WHERE kind = ? AND id = ?", name)
            connection.executemany(_WRITE_KEY, [(key, *name) for key in document.keys])
            self._prune(connection, document.kind)
            return True

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

    def _hold(self, kind: Kind, ids: Sequence[str]) -> dict[str, Fate]:
        fates: dict[str, Fate] = {}
        with self._transaction() as connection:
            for id in ids:
                row = connection.execute(_HOLD, (self._clock(), kind, id, self._owner)).fetchone()
                if row is None:
                    fates[id] = "lost"
                elif row[0]:
                    fates[id] = "ending"
        return fates

    def _end(self, kind: Kind, id: str) -> bool:
        with self._transaction() as connection:
            return connection.execute(_END, (kind, id)).rowcount > 0

    def _orphans(self, kind: Kind) -> list[Document]:
        with self._transaction() as connection:
            owners = [owner for (owner,) in connection.execute(_OPEN, (kind,)) if owner != self._owner]
            dead = [owner for owner in owners if self._alive and self._alive.is_dead(owner)]
            now = self._clock()
            rows = [  # of none of the dead: those that were not held for too long, whoever's they are
                row
                for owner in [*dead, ""]
                for row in connection.execute(_ADOPT, (self._owner, now, kind, owner, now - LEASE)).fetchall()
            ]
        return [Document(kind, id, body, is_open=True) for id, body in rows]
