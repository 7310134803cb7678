"""Counts of seconds in classes, by model. The library that shows them is not needed to count."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


class Histogram:
    """Classes up to each of `bounds` (seconds, ascending) and one above, for each model."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, model: str, seconds: float) -> None:
        """Count one."""
        counts = self._counts.setdefault(model, [0] * (len(self.bounds) + 1))
        counts[bisect_left(self.bounds, seconds)] += 1
        self._sums[model] = self._sums.get(model, 0.0) + seconds

    def add(self, model: str, counted: Sequence[int], total: float) -> None:
        """Add counts of the same classes, and the sum of what was counted."""
        counts = self._counts.setdefault(model, [0] * (len(self.bounds) + 1))
        for index, count in enumerate(counted):
            counts[index] += count
        self._sums[model] = self._sums.get(model, 0.0) + total

    @property
    def models(self) -> list[str]:
        """All of which something was observed."""
        return list(self._counts)

    def buckets(self, model: str) -> list[tuple[str, float]]:
        """Prometheus' cumulative buckets: upper bound and count, the last of them `+Inf`."""
        counts = self._counts.get(model, [0] * (len(self.bounds) + 1))
        bounds = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        return [(bound, float(count)) for bound, count in zip(bounds, accumulate(counts), strict=True)]

    def sum(self, model: str) -> float:
        """Of all that was observed, seconds."""
        return self._sums.get(model, 0.0)
