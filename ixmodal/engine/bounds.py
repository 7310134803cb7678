"""Bounds of time and memory for a block of code in the engine's process: a model file's template runs within them."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ixmodal.errors import InvalidRequestError

TEMPLATE_MEMORY = 512 * 1024 * 1024
"""Bytes that rendering may add to the process's address space."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End the block after `seconds`. Main thread only. Raises `InvalidRequestError` on expiry."""

    def expire(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise InvalidRequestError(
            f"the model's chat template took over {seconds:g} seconds; send fewer messages", param="messages"
        )

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def memory_limit(size: int = TEMPLATE_MEMORY) -> Iterator[None]:
    """Let the block add at most `size` bytes to the address space: an allocation beyond fails with `MemoryError`.

    The limit is the whole process's (`RLIMIT_AS`): other threads are under it for as long as the block runs.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _address_space() + size
    bounds = [bound for bound in (limit, soft, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    """Bytes of address space in use; see proc_pid_statm(5)."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return pages * resource.getpagesize()
