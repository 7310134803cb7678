"""A store that a restart empties, for tests and for servers without a disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ixmodal.server.store.base import DEFAULT_MAX_AGE, LEASE, Document, Entry, Fate, Kind


@dataclass
class _Kept:
    document: Document
    used: float
    held: float
    is_ending: bool = False
    entries: dict[str, Entry] = field(default_factory=dict)


class MemoryStore:
    """Keeps documents in this process; see `Store`."""

    def __init__(
        self, max_count: int = 1000, max_age: float = DEFAULT_MAX_AGE, clock: Callable[[], float] = time.time
    ) -> None:
        self._max_count = max_count
        self._max_age = max_age
        self._clock = clock
        self._kept: dict[tuple[Kind, str], _Kept] = {}  # the least recently used first
        self._keys: dict[str, tuple[Kind, str]] = {}

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do: what is here lives as long as this object."""

    async def put(self, document: Document) -> None:
        """Write a document."""
        name = (document.kind, document.id)
        old = self._kept.get(name)
        self._drop_keys(old)
        self._kept[name] = _Kept(document, 0.0, self._clock(), entries=old.entries if old else {})
        self._keys |= dict.fromkeys(document.keys, name)
        self._use(name)
        self._prune(document.kind)

    async def get(self, kind: Kind, id: str) -> Document | None:
        """The document, or None."""
        kept = self._current(kind, id)
        return kept.document if kept else None

    async def find(self, key: str) -> Document | None:
        """The document with that key, or None."""
        name = self._keys.get(key)
        return await self.get(*name) if name else None

    async def delete(self, kind: Kind, id: str) -> bool:
        """Delete a document with its entries."""
        found = self._current(kind, id) is not None
        self._drop((kind, id))
        return found

    async def touch(self, kind: Kind, ids: Sequence[str]) -> None:
        """Count the documents as used now."""
        for id in ids:
            if self._current(kind, id):
                self._use((kind, id))

    async def append(self, kind: Kind, id: str, entries: Sequence[Entry]) -> bool:
        """Add entries at the end."""
        kept = self._current(kind, id)
        if kept is None:
            return False
        for entry in entries:
            kept.entries.setdefault(entry.id, entry)
        self._use((kind, id))
        return True

    async def entries(self, kind: Kind, id: str) -> list[Entry]:
        """All entries in their order."""
        kept = self._current(kind, id)
        return list(kept.entries.values()) if kept else []

    async def remove(self, kind: Kind, id: str, entry_id: str) -> bool:
        """Remove an entry."""
        kept = self._current(kind, id)
        return kept is not None and kept.entries.pop(entry_id, None) is not None

    async def rewrite(self, document: Document) -> bool:
        """Write over an open document."""
        kept = self._open(document.kind, document.id)
        if kept is None:
            return False
        is_ending = kept.is_ending
        await self.put(document)
        self._kept[document.kind, document.id].is_ending = is_ending
        return True

    async def hold(self, kind: Kind, ids: Sequence[str]) -> dict[str, Fate]:
        """Go on writing open documents."""
        fates: dict[str, Fate] = {}
        for id in ids:
            kept = self._open(kind, id)
            if kept is None:
                fates[id] = "lost"
                continue
            kept.held = self._clock()
            if kept.is_ending:
                fates[id] = "ending"
        return fates

    async def end(self, kind: Kind, id: str) -> bool:
        """Ask for the end of an open document."""
        kept = self._open(kind, id)
        if kept is not None:
            kept.is_ending = True
        return kept is not None

    async def orphans(self, kind: Kind, /) -> list[Document]:
        """Open documents that were not held for too long: their last write failed."""
        now = self._clock()
        found = [
            k for name, k in self._kept.items() if name[0] == kind and k.document.is_open and k.held <= now - LEASE
        ]
        for kept in found:
            kept.held = now
        return [kept.document for kept in found]

    def _open(self, kind: Kind, id: str) -> _Kept | None:
        kept = self._kept.get((kind, id))
        return kept if kept and kept.document.is_open else None

    def _current(self, kind: Kind, id: str) -> _Kept | None:
        kept = self._kept.get((kind, id))
        return kept if kept and (kept.document.is_open or kept.used > self._clock() - self._max_age) else None

    def _use(self, name: tuple[Kind, str]) -> None:
        kept = self._kept.pop(name)
        kept.used = self._clock()
        self._kept[name] = kept

    def _prune(self, kind: Kind) -> None:
        closed = [name for name, kept in self._kept.items() if name[0] == kind and not kept.document.is_open]
        expired = {name for name in closed if self._current(*name) is None}
        over = max(0, len(closed) - self._max_count)
        for name in expired | set(closed[:over]):
            self._drop(name)

    def _drop(self, name: tuple[Kind, str]) -> None:
        self._drop_keys(self._kept.pop(name, None))

    def _drop_keys(self, kept: _Kept | None) -> None:
        if kept is not None:
            name = (kept.document.kind, kept.document.id)
            for key in kept.document.keys:
                if self._keys.get(key) == name:
                    del self._keys[key]
