"""Tokens a second on the model of 1.1 B parameters, with 1 and 4 streams."""

from __future__ import annotations

from dataclasses import replace

from bench.cases.streams import compare
from bench.options import Options
from bench.record import Record


def measure(options: Options) -> Record:
    """Fewer requests: a token takes some ten times as long. ctransformers would read prompts for minutes."""
    fast = replace(options, servers=tuple(name for name in options.servers if name != "ixmodal-ctransformers"))
    return compare("1b", "streams_1b", fast, options.streams or (1, 4), repetitions=3, budget=130, least=2)[1]
