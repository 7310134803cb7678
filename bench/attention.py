"""llama.cpp's ways to compute attention on a CPU: `python -m bench.attention`.

Milliseconds of processor time for a forward, medians of turns in all contexts, on the random model of 110 M
parameters: a chunk of a prompt, or one token of each of several sequences, behind so many tokens of context.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ixmodal.backends.base import Chunk, LoadParams
from ixmodal.backends.llama_cpp import LlamaCppBackend

FILE = Path(__file__).parent / "models/random-110m-q4_0.gguf"
BATCH = 512
WAYS: dict[str, dict[str, Any]] = {
    "plain f16": {"flash_attention": False},
    "flash f16": {"flash_attention": True},
    "flash bf16": {"flash_attention": True, "cache_type": "bf16"},
}


def compare(backends: list[LlamaCppBackend], sequences: int, count: int, past: int, turns: int) -> list[float]:
    """Milliseconds of each backend."""
    took: list[list[float]] = [[] for _ in backends]
    for backend in backends:
        for slot in range(sequences if past else 0):
            backend.forward([Chunk(slot, range(5, 5 + past), 0)])
    for _ in range(turns):
        for backend, found in zip(backends, took, strict=True):
            began = time.process_time()
            backend.forward([Chunk(slot, range(5, 5 + count), past) for slot in range(sequences)])
            found.append(1000 * (time.process_time() - began))
    return [statistics.median(found) for found in took]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=FILE)
    parser.add_argument("--sequences", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--past", type=int, nargs="+", default=[20, 60, 120, 240, 500])
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    params = LoadParams(str(options.model), 1024, max(options.sequences), BATCH, 1, 0, mmap=True, mlock=False)
    backends = [LlamaCppBackend(replace(params, **way)) for way in WAYS.values()]
    cases = [(1, count, past) for count in (64, 256) for past in (0, 240)]
    cases += [(sequences, 1, past) for sequences in options.sequences for past in options.past]
    for sequences, count, past in cases:
        took = compare(backends, sequences, count, past, options.turns)
        what = f"{sequences} sequence(s), {count} token(s) each after {past}"
        told = (f"{way} {time:7.1f} ms ({took[0] / time:.2f})" for way, time in zip(WAYS, took, strict=True))
        print(f"{what:48s} {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
