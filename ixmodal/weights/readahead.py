"""Model files are read into the page cache before an engine maps them, at the speed of the disk.

A mapped file is read where it is touched, with as much around it as the system is set to read, by one thread that waits
for each piece. Several readers of large blocks keep any disk busy, and one across a network above all. They begin as
soon as a file is known, while the server and its engine still import.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import repeat
from pathlib import Path

logger = logging.getLogger("ixmodal")
_BLOCK = 4 * 1024 * 1024
_READERS = 4
_NOWAIT = getattr(os, "RWF_NOWAIT", None)


class ReadAhead:
    """Reads files in the background, one after the other, each once at a time. What can't be read is left alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._one_file = threading.Lock()
        self._running: dict[Path, threading.Thread] = {}

    def begin(self, path: Path, room: int) -> None:
        """Begin to read a file, unless it and those that are being read are larger than `room`, in bytes.

        The end of what does not fit would push out its beginning.
        """
        with suppress(OSError), self._lock:
            size = path.stat().st_size
            if path not in self._running:
                claimed = sum(other.stat().st_size for other in self._running)
                if size + claimed <= room:
                    thread = threading.Thread(target=self._read, args=(path, size), name="read ahead", daemon=True)
                    self._running[path] = thread
                    thread.start()

    def wait(self, path: Path) -> None:
        """Wait until a file has been read, if it is being read."""
        if thread := self._running.get(path):
            thread.join()

    def _read(self, path: Path, size: int) -> None:
        try:
            with self._one_file:
                read_file(path, size)
        except OSError as error:  # the engine meets it as well, and says what is wrong
            logger.debug("%s was not read ahead: %s", path, error)
        finally:
            with self._lock:
                del self._running[path]


def read_file(path: Path, size: int, readers: int = _READERS) -> int:
    """Read what is not in the page cache yet. Returns the bytes that were read. Raises `OSError`."""
    with path.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        blocks = iter([at for at in range(0, size, _BLOCK) if not _is_cached(descriptor, at, min(_BLOCK, size - at))])
        counts: list[int] = []
        errors: list[OSError] = []

        def work() -> None:
            try:
                counts.append(_read_blocks(descriptor, blocks))
            except OSError as error:
                errors.append(error)

        threads = [threading.Thread(target=work, daemon=True) for _ in repeat(None, readers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return sum(counts)


def _read_blocks(descriptor: int, blocks: Iterator[int]) -> int:
    buffer, count = memoryview(bytearray(_BLOCK)), 0
    for at in blocks:  # one iterator for all readers: the next of a list's is an atomic step
        count += os.preadv(descriptor, [buffer], at)
    return count


def _is_cached(descriptor: int, at: int, size: int) -> bool:
    """Whether a block's middle and end are in memory. False where the system does not tell."""
    if _NOWAIT is None:
        return False
    try:
        return all(os.preadv(descriptor, [bytearray(1)], at + i, _NOWAIT) for i in (size // 2, size - 1))
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        return False
