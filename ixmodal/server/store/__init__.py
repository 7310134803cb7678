"""What the server remembers between requests: one small protocol, and the places that keep it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ixmodal.errors import SpecError
from ixmodal.server.store.base import LEASE, Document, Entry, Fate, Kind, Store, StoreError
from ixmodal.server.store.memory import MemoryStore
from ixmodal.server.store.redis import RedisStore
from ixmodal.server.store.sqlite import SqliteStore
from ixmodal.spec import App
from ixmodal.spec.state import state_home

ONLY_ON_MODAL = "modal-dict:// is there on Modal only; elsewhere write redis://… or leave it out"
__all__ = [
    "LEASE",
    "ONLY_ON_MODAL",
    "Document",
    "Entry",
    "Fate",
    "Kind",
    "MemoryStore",
    "RedisStore",
    "SqliteStore",
    "Store",
    "StoreError",
    "choose_store",
]


def choose_store(spec: App) -> Store:
    """The store that a spec declares: its path, or else its Redis, or else a file, or with no place for one, memory.

    Raises:
        SpecError: it is in a Redis whose client is not installed, or in Dicts, which Modal's replicas bring themselves.
    """
    state = spec.state
    if state.path is None and state.dict_name is not None:
        raise SpecError("the spec", [f"state.url: {ONLY_ON_MODAL}"])
    if state.path is None and state.redis_url is not None:
        return RedisStore(state.redis_url, spec.name, max_count=state.max_count, max_age=state.max_age)
    if state.path == "memory":
        return MemoryStore(max_count=state.max_count, max_age=state.max_age)
    path = Path(state.path) if state.path else state_home() / spec.name / "state.sqlite"
    if state.path is None and not _is_writable(path.parent):
        logging.getLogger("ixmodal.server").warning("%s can't be written: responses are kept in memory only", path)
        return MemoryStore(max_count=state.max_count, max_age=state.max_age)
    return SqliteStore(path, max_count=state.max_count, max_age=state.max_age)


def _is_writable(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK)
