"""How processes that share a file know of each other whether they live: each holds the lock of a file of its own."""

from __future__ import annotations

import uuid
from pathlib import Path

from filelock import FileLock, Timeout


class Alive:
    """This process, as others see it: alive from here on until `release`."""

    def __init__(self, path: Path) -> None:
        self.id = uuid.uuid4().hex
        self._path = path
        self._lock = self._lock_of(self.id)
        self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Be dead. Idempotent."""
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)

    def is_dead(self, other: str) -> bool:
        """Whether the process of that id, not this one, is gone."""
        lock = self._lock_of(other)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
        return True

    def _lock_of(self, id: str) -> FileLock:
        return FileLock(f"{self._path}.{id}.alive", thread_local=False)
