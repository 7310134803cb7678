"""Tokens a second on the model of 1.1 B parameters, with 1 and 4 streams."""

from __future__ import annotations

from bench.cases.streams import compare
from bench.options import Options
from bench.record import Record


def measure(options: Options) -> Record:
    """Fewer requests: a token takes some ten times as long."""
    return compare("1b", "streams_1b", options, options.streams or (1, 4), repetitions=2, budget=90, least=2)[1]
