"""Streams of short prompts with a thread for each core: llama-server's own default."""

from __future__ import annotations

from dataclasses import replace

from bench.cases.streams import Shape, compare
from bench.options import Options
from bench.record import Record
from ixmodal.backends.cpu import physical_cores


def measure(options: Options) -> Record:
    """The server and the client then compete with the engine's threads, which wait for each other by spinning."""
    threads = max(options.threads, physical_cores())
    return compare("streams_cores", Shape(repetitions=7), replace(options, threads=threads))
