"""What every store can do: keep documents, each with an ordered list of entries.

A document is bytes under a kind and an id; what is in them is the caller's business. It is small enough for a key-value
store: a document is a key, its entries are a list, its keys are more keys. Each call is atomic by itself, and no caller
needs two of them to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ixmodal.errors import IxmodalError

Kind = Literal["response", "conversation"]
Fate = Literal["ending", "lost"]
"""What became of an open document: somebody asked for its end, or it is deleted, closed or another's."""
DEFAULT_MAX_COUNT = 10_000
DEFAULT_MAX_AGE = 30 * 24 * 3600.0
LEASE = 30.0
"""Seconds after which an open document that is not held is taken for one whose writer is gone."""


class StoreError(IxmodalError):
    """The store can't be opened, read or written."""


@dataclass(frozen=True)
class Document:
    """Bytes under a kind and an id.

    `keys` are further names under which `find` knows it. An open document is one that its writer, the process that put
    it, has not finished: it is never dropped to make room.
    """

    kind: Kind
    id: str
    body: bytes
    keys: tuple[str, ...] = ()
    is_open: bool = False


@dataclass(frozen=True)
class Entry:
    """One of a document's entries. Its id is unique within the document."""

    id: str
    body: bytes


class Store(Protocol):
    """Keeps documents within a bound of count (for each kind) and of age (seconds since the last use).

    The least recently used go first. Writing, appending and touching are uses; reading is not.
    Every method but `close` may raise `StoreError`.
    """

    async def open(self) -> None:
        """Make ready. Nothing else may be called before."""

    async def close(self) -> None:
        """Let go. Idempotent."""

    async def put(self, document: Document) -> None:
        """Write a document, over an earlier one of that kind and id; its entries stay."""

    async def get(self, kind: Kind, id: str) -> Document | None:
        """The document, or None."""

    async def find(self, key: str) -> Document | None:
        """The document that was last written with `key` among its keys, or None."""

    async def delete(self, kind: Kind, id: str) -> bool:
        """Delete a document with its entries. False if there is none."""

    async def touch(self, kind: Kind, ids: Sequence[str]) -> None:
        """Count the documents as used now."""

    async def append(self, kind: Kind, id: str, entries: Sequence[Entry]) -> bool:
        """Add entries at the end, all or none. An id that is there already keeps its place and its old content.

        False if there is no such document.
        """

    async def entries(self, kind: Kind, id: str) -> list[Entry]:
        """All entries in their order; none if there is no such document."""

    async def remove(self, kind: Kind, id: str, entry_id: str) -> bool:
        """Remove an entry. False if there is none."""

    async def rewrite(self, document: Document) -> bool:
        """Write over an open document that this process writes, perhaps for the last time.

        False, and nothing is written, if it is deleted, closed or another's.
        """

    async def hold(self, kind: Kind, ids: Sequence[str]) -> dict[str, Fate]:
        """Go on writing open documents, for `LEASE` seconds more. Returns those that are to end, and why."""

    async def end(self, kind: Kind, id: str) -> bool:
        """Ask the writer of an open document to end it: its next `hold` tells. False if there is none that is open."""

    async def orphans(self, kind: Kind, /) -> list[Document]:
        """Open documents whose writer is gone, or has not held them for `LEASE` seconds.

        From now on this process is their writer: no two are told of the same.
        """
