"""The entries of documents in a `modal.Dict`: for each a log that is only added to.

A Dict changes one key at a time, and can add one that is not there yet: thus each change of a document's entries is a
key of its own, numbered, and what the entries are follows from the changes in their order. No two writers get the same
number, so that none of them loses anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import modal

from ixmodal.server.store import Entry

_AT_ONCE = 16
"""Reads in flight at one time."""
_HINTS = 4096
Change = tuple[str, list[tuple[str, bytes]]]
"""`add` or `remove`, and the ids and bodies; a removed entry has an empty body."""


class EntryLog:
    """The logs of all documents. `token` names a document's."""

    def __init__(self, content: modal.Dict) -> None:
        self._content = content
        self._lengths: dict[str, int] = {}  # where to look for the ends of logs first

    async def add(self, token: str, entries: Sequence[Entry]) -> None:
        """Add entries at the end; what an id that is there already has stays."""
        await self._write(token, ("add", [(entry.id, entry.body) for entry in entries]))

    async def entries(self, token: str) -> list[Entry]:
        """All entries in their order."""
        return [Entry(id, body) for id, (_, body) in _replayed(await self._read(token)).items()]

    async def remove(self, token: str, id: str) -> bool:
        """Remove an entry, and what it held. False if there is none."""
        if id not in _replayed(await self._read(token)):
            return False
        at = await self._write(token, ("remove", [(id, b"")]))
        before = _replayed((await self._read(token))[:at])
        if id not in before:  # another was first
            return False
        number, _ = before[id]
        kind, added = await self._content.get.aio(_key(token, number))
        await self._content.put.aio(_key(token, number), (kind, [(i, b"" if i == id else b) for i, b in added]))
        return True

    async def clear(self, token: str) -> None:
        """Delete a log."""
        for number in range(len(await self._read(token))):
            await self._content.pop.aio(_key(token, number), None)
        self._lengths.pop(token, None)

    async def _write(self, token: str, change: Change) -> int:
        number = self._lengths.get(token, -1)
        if number < 0:
            number = len(await self._read(token))
        while not await self._content.put.aio(_key(token, number), change, skip_if_exists=True):
            number += 1
        self._note(token, number + 1)
        return number

    async def _read(self, token: str) -> list[Change]:
        found: list[Change] = []
        while True:
            numbers = range(len(found), len(found) + _AT_ONCE)
            batch: list[Any] = await asyncio.gather(*(self._content.get.aio(_key(token, n)) for n in numbers))
            found += (change for change in batch if change is not None)
            if None in batch:
                self._note(token, len(found))
                return found

    def _note(self, token: str, length: int) -> None:
        self._lengths.pop(token, None)
        self._lengths[token] = length
        if len(self._lengths) > _HINTS:
            del self._lengths[next(iter(self._lengths))]


def _key(token: str, number: int) -> str:
    return f"entries:{token}:{number}"


def _replayed(changes: Sequence[Change]) -> dict[str, tuple[int, bytes]]:
    """The entries by their ids: by which change each came, and its body."""
    found: dict[str, tuple[int, bytes]] = {}
    for number, (kind, entries) in enumerate(changes):
        for id, body in entries:
            if kind == "add":
                found.setdefault(id, (number, body))
            else:
                found.pop(id, None)
    return found
