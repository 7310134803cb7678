"""Chats of ten turns on the model of 1.1 B parameters, of which attention is a smaller part."""

from __future__ import annotations

from bench.cases.chats import compare
from bench.options import Options
from bench.record import Record


def measure(options: Options) -> Record:
    """One chat at a time: a token takes some ten times as long."""
    return compare("chats_1b", "1b", 1, options.repetitions or 3, options)
