"""Streams that read as much as they write: prompts of 96 words, answers of 32 tokens."""

from __future__ import annotations

from bench.cases.streams import Shape, compare
from bench.options import Options
from bench.record import Record


def measure(options: Options) -> Record:
    """How fast prompts are read decides."""
    return compare("streams_prompts", Shape(words=96, tokens=32, budget=380), options)
