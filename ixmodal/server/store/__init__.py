"""What the server remembers between requests: one small protocol, and the places that keep it."""

from __future__ import annotations

from ixmodal.server.store.base import Document, Entry, Kind, Store, StoreError
from ixmodal.server.store.memory import MemoryStore
from ixmodal.server.store.sqlite import SqliteStore

__all__ = ["Document", "Entry", "Kind", "MemoryStore", "SqliteStore", "Store", "StoreError"]
