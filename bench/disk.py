"""The page cache and the disk below it."""

from __future__ import annotations

import os
import time
from pathlib import Path

_BLOCK = 4 * 1024 * 1024


def forget(path: Path) -> None:
    """Drop a file from the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(path: Path) -> float:
    """Seconds to read a file from beginning to end, in large blocks, as fast as one reader can."""
    buffer = bytearray(_BLOCK)
    began = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while file.readinto(buffer):
            pass
    return time.perf_counter() - began
