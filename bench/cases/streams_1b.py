"""Tokens a second on the model of 1.1 B parameters, with 1 and 4 streams."""

from __future__ import annotations

from bench.cases.streams import Shape, compare
from bench.options import Options
from bench.record import Record


def measure(options: Options) -> Record:
    """Fewer and shorter: a token takes some ten times as long."""
    return compare("streams_1b", Shape(16, 32, "1b", (1, 4), least=2, repetitions=3, budget=200), options)
