"""One download: what, whereto, until when."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from ixmodal.errors import WeightsError
from ixmodal.spec import Model
from ixmodal.weights.places import shown

Progress = Callable[[int, int | None], None]
"""Bytes that are there, bytes in all (None: unknown)."""


class Job:
    """A model on its way to `target`, by way of `part`; both are in one directory."""

    def __init__(self, model: Model, target: Path, timeout: float, progress: Progress | None = None) -> None:
        self.model = model
        self.target = target
        self.part = self.beside(".part")
        self.name = shown(model)
        self.progress = progress or (lambda done, total: None)
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout

    def beside(self, suffix: str) -> Path:
        """A path next to the target."""
        return self.target.with_name(self.target.name + suffix)

    @property
    def arrived(self) -> int:
        """Bytes that an earlier process left and this one may go on with."""
        try:
            return self.part.stat().st_size
        except OSError:
            return 0

    def seconds_left(self) -> float:
        """Seconds until the time limit. Raises `WeightsError` when it is past."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self.too_late()
        return left

    def seconds_left_to_wait(self) -> float:
        """Seconds until the time limit. Raises `WeightsError` when another process holds the file beyond it."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise WeightsError(
                f"another process has been downloading {self.target} for {self._timeout:g} s; wait for it, or end it"
            )
        return left

    def too_late(self) -> WeightsError:
        """The error of a download that ran out of time."""
        return WeightsError(
            f"{self.name} was not downloaded within {self._timeout:g} s; try again, or raise limits.download_timeout"
        )

    def reserve(self, size: int) -> None:
        """Raise `WeightsError` unless the disk has room for `size` bytes more."""
        disk = shutil.disk_usage(self.target.parent)
        if disk.total and size > disk.free:  # network volumes may give no numbers at all
            raise WeightsError(
                f"{self.name} needs {size:,} bytes, but {self.target.parent} has {disk.free:,} free; free some space"
            )

    def discard(self) -> None:
        """Remove what arrived so far."""
        self.part.unlink(missing_ok=True)
        self.beside(".part.json").unlink(missing_ok=True)
