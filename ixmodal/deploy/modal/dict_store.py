"""A store in `modal.Dict`s that the replicas of an app share.

A Dict has no transactions. What must be decided once is a key that only one can add (`skip_if_exists`): the turns
at an open document, one after the other. Who has the latest turn, and holds the document, is its writer; a writer that
closes it, one that takes over from a dead one, and one that deletes it take a turn each.

Three Dicts: `NAME` has the documents, their turns and entries; `NAME-used` when closed documents were last used;
`NAME-open` the open ones with their leases. Modal drops what was neither read nor written for seven days.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from typing import NamedTuple

import modal

from ixmodal.deploy.modal.entry_log import EntryLog
from ixmodal.deploy.modal.outage import told
from ixmodal.server.store import LEASE, Document, Entry, Fate, Kind

PRUNE_EVERY = 60.0
"""Seconds between two looks of one replica for what is too old or too much."""
Name = tuple[Kind, str]


class _Kept(NamedTuple):
    body: bytes
    keys: tuple[str, ...]
    token: str
    is_open: bool


class _Lease(NamedTuple):
    token: str
    turn: int
    held: float


class DictStore:
    """Keeps documents in Dicts; see `Store`. Counts are bounded within `prune_every` seconds only.

    Args:
        name: of the Dicts, which are made when they are missing.
        max_count: documents of each kind at most.
        max_age: seconds after its last use that a document is kept; Modal keeps none longer than seven days.
        clock: seconds since the epoch, on which the replicas agree.
        client: to Modal; None: that of the container.
        prune_every: seconds between two looks for what is too much.
    """

    def __init__(
        self,
        name: str,
        max_count: int,
        max_age: float,
        clock: Callable[[], float] = time.time,
        client: modal.Client | None = None,
        prune_every: float = PRUNE_EVERY,
    ) -> None:
        self._max_count = max_count
        self._max_age = max_age
        self._clock = clock
        self._prune_every = prune_every
        self._pruned = float("-inf")
        self._turns: dict[Name, tuple[str, int]] = {}  # of what this process writes
        self._content, self._used, self._open = (
            modal.Dict.from_name(full, create_if_missing=True, client=client)
            for full in (name, f"{name}-used", f"{name}-open")
        )
        self._log = EntryLog(self._content)

    async def open(self) -> None:
        """Nothing to do: Dicts are asked for when they are used."""

    async def close(self) -> None:
        """Nothing to do. What this process left open has no writer once its lease has ended."""

    async def put(self, document: Document) -> None:
        """Write a document."""
        name = (document.kind, document.id)
        async with told():
            old = await self._read(name)
            token = old.token if old else uuid.uuid4().hex
            if document.is_open:
                await self._content.pop.aio(f"ending:{token}", None)
                await self._hold(name, token, await self._take_next(token))
            await self._write(document, token, old)
            if self._clock() - self._pruned >= self._prune_every:
                await self._prune()

    async def get(self, kind: Kind, id: str) -> Document | None:
        """The document, or None."""
        async with told():
            kept = await self._current((kind, id))
        return Document(kind, id, kept.body, kept.keys, kept.is_open) if kept else None

    async def find(self, key: str) -> Document | None:
        """The document with that key, or None."""
        async with told():
            name = await self._content.get.aio(f"key:{key}")
        document = await self.get(*name) if name else None
        return document if document and key in document.keys else None

    async def delete(self, kind: Kind, id: str) -> bool:
        """Delete a document with its entries."""
        name = (kind, id)
        async with told():
            found = await self._current(name)
            kept = found or await self._read(name)
            if kept is not None:
                if kept.is_open:
                    await self._take_next(kept.token)
                await self._drop(name, kept)
        return found is not None

    async def touch(self, kind: Kind, ids: Sequence[str]) -> None:
        """Count the documents as used now."""
        async with told():
            names: list[Name] = [(kind, id) for id in ids]
            found = await asyncio.gather(*(self._current(name) for name in names))
            now = self._clock()
            used = {_key(n): now for n, kept in zip(names, found, strict=True) if kept and not kept.is_open}
            if used:
                await self._used.update.aio(used)

    async def append(self, kind: Kind, id: str, entries: Sequence[Entry]) -> bool:
        """Add entries at the end."""
        async with told():
            kept = await self._current((kind, id))
            if kept is None:
                return False
            await self._log.add(kept.token, entries)
            if not kept.is_open:
                await self._used.put.aio(_key((kind, id)), self._clock())
            return True

    async def entries(self, kind: Kind, id: str) -> list[Entry]:
        """All entries in their order."""
        async with told():
            kept = await self._current((kind, id))
            return await self._log.entries(kept.token) if kept else []

    async def remove(self, kind: Kind, id: str, entry_id: str) -> bool:
        """Remove an entry."""
        async with told():
            kept = await self._current((kind, id))
            return kept is not None and await self._log.remove(kept.token, entry_id)

    async def rewrite(self, document: Document) -> bool:
        """Write over an open document of this process."""
        name = (document.kind, document.id)
        async with told():
            if name not in self._turns:
                return False
            token, turn = self._turns[name]
            if not document.is_open:  # the last turn: who else wants one comes too late
                is_ours = await self._take(token, turn := turn + 1)
            else:
                is_ours = not await self._content.contains.aio(_turn(token, turn + 1))
            if not is_ours:
                del self._turns[name]
                return False
            await self._hold(name, token, turn)
            await self._write(document, token, await self._read(name))
            if await self._content.contains.aio(_turn(token, turn + 1)):  # deleted meanwhile
                await self._drop(name, _Kept(document.body, document.keys, token, document.is_open))
                return False
            return True

    async def hold(self, kind: Kind, ids: Sequence[str]) -> dict[str, Fate]:
        """Go on writing open documents."""
        async with told():
            fates = await asyncio.gather(*(self._renew((kind, id)) for id in ids))
        return {id: fate for id, fate in zip(ids, fates, strict=True) if fate}

    async def end(self, kind: Kind, id: str) -> bool:
        """Ask for the end of an open document."""
        async with told():
            kept = await self._read((kind, id))
            if kept is None or not kept.is_open:
                return False
            await self._content.put.aio(f"ending:{kept.token}", value=True)
            return True

    async def orphans(self, kind: Kind, /) -> list[Document]:
        """Open documents that nobody holds."""
        async with told():
            leases = [(_name(key), _Lease(*lease)) async for key, lease in self._open.items.aio()]
            found = [await self._adopt(name, lease) for name, lease in leases if name[0] == kind]
        return [document for document in found if document]

    async def _read(self, name: Name) -> _Kept | None:
        found = await self._content.get.aio(f"document:{_key(name)}")
        return _Kept(*found) if found else None

    async def _current(self, name: Name) -> _Kept | None:
        kept, used = await asyncio.gather(self._read(name), self._used.get.aio(_key(name)))
        is_current = kept and (kept.is_open or (used or 0.0) > self._clock() - self._max_age)
        return kept if is_current else None

    async def _write(self, document: Document, token: str, old: _Kept | None) -> None:
        name = (document.kind, document.id)
        if not document.is_open:  # first, since what nobody used is gone
            await self._used.put.aio(_key(name), self._clock())
        kept = tuple(_Kept(document.body, document.keys, token, document.is_open))
        await self._content.update.aio(
            {f"document:{_key(name)}": kept, **{f"key:{key}": name for key in document.keys}}
        )
        await self._drop_keys(name, set(old.keys if old else ()) - set(document.keys))
        if document.is_open:
            await self._used.pop.aio(_key(name), None)
        else:
            self._turns.pop(name, None)
            await self._open.pop.aio(_key(name), None)

    async def _drop(self, name: Name, kept: _Kept) -> None:
        self._turns.pop(name, None)
        await self._drop_keys(name, set(kept.keys))
        await self._content.pop.aio(f"document:{_key(name)}", None)
        await self._used.pop.aio(_key(name), None)
        await self._open.pop.aio(_key(name), None)
        await self._content.pop.aio(f"ending:{kept.token}", None)
        await self._log.clear(kept.token)

    async def _drop_keys(self, name: Name, keys: set[str]) -> None:
        for key in keys:
            if await self._content.get.aio(f"key:{key}") == name:
                await self._content.pop.aio(f"key:{key}", None)

    async def _take(self, token: str, turn: int) -> bool:
        return bool(await self._content.put.aio(_turn(token, turn), self._clock(), skip_if_exists=True))

    async def _take_next(self, token: str) -> int:
        turn = 0
        while not await self._take(token, turn):
            turn += 1
        return turn

    async def _hold(self, name: Name, token: str, turn: int) -> None:
        self._turns[name] = (token, turn)
        await self._open.put.aio(_key(name), tuple(_Lease(token, turn, self._clock())))

    async def _renew(self, name: Name) -> Fate | None:
        if name not in self._turns:
            return "lost"
        token, turn = self._turns[name]
        if await self._content.contains.aio(_turn(token, turn + 1)):
            self._turns.pop(name, None)
            return "lost"
        await self._hold(name, token, turn)
        return "ending" if await self._content.get.aio(f"ending:{token}") else None

    async def _adopt(self, name: Name, lease: _Lease) -> Document | None:
        """Take over an open document, unless it is held, or another takes it over."""
        oldest = self._clock() - LEASE
        turn = lease.turn
        taken: float | None = lease.held
        while taken is not None and taken <= oldest:  # a turn that nothing followed: its taker died there
            turn += 1
            taken = await self._content.get.aio(_turn(lease.token, turn))
        if taken is not None or not await self._take(lease.token, turn):
            return None
        kept = await self._read(name)
        if kept is None or not kept.is_open or kept.token != lease.token:
            await self._open.pop.aio(_key(name), None)
            return None
        await self._hold(name, lease.token, turn)
        return Document(*name, kept.body, kept.keys, is_open=True)

    async def _prune(self) -> None:
        self._pruned = now = self._clock()
        used = sorted([(at, _name(key)) async for key, at in self._used.items.aio()])
        for kind in ("response", "conversation"):
            names = [(at, name) for at, name in used if name[0] == kind]
            over = len(names) - self._max_count
            for number, (at, name) in enumerate(names):
                if number < over or at <= now - self._max_age:
                    kept = await self._read(name)
                    await (self._drop(name, kept) if kept else self._used.pop.aio(_key(name), None))


# Keys are texts: a Dict compares what a key is pickled to, and that of a tuple depends on its parts being one object.


def _key(name: Name) -> str:
    return f"{name[0]}:{name[1]}"


def _name(key: str) -> Name:
    kind, _, id = key.partition(":")
    return ("response" if kind == "response" else "conversation"), id


def _turn(token: str, turn: int) -> str:
    return f"turn:{token}:{turn}"
