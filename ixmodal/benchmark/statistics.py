"""What many times and many runs come to."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds: their mean, percentiles (between two values in proportion) and greatest."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Distribution | None:
        """None for no values."""
        if not values:
            return None
        cuts = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else list(values) * 99
        return cls(
            count=len(values),
            mean=statistics.fmean(values),
            p50=cuts[49],
            p90=cuts[89],
            p95=cuts[94],
            p99=cuts[98],
            most=max(values),
        )


class Spread(msgspec.Struct, frozen=True):
    """One figure over several runs."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None for no values."""
        return cls(statistics.median(values), min(values), max(values)) if values else None

    @classmethod
    def of_ratios(cls, numerators: Sequence[float | None], denominators: Sequence[float | None]) -> Spread | None:
        """Of the ratios run by run, so that what befalls both in a run cancels out; runs that lack one don't count."""
        pairs = zip(numerators, denominators, strict=True)
        return cls.of([above / below for above, below in pairs if above is not None and below])
