"""What choosing a token costs: `python -m bench.sampling`.

Microseconds of processor time from logits to token, for vocabularies of 32,000 and 150,000 tokens. The logits fall with
the logarithm of the rank, as those of language models do, with noise, anew for each token.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from bench.machine import describe_machine
from ixmodal.backends.base import Logits
from ixmodal.engine.request import SamplingParams
from ixmodal.engine.sequence import Sequence
from ixmodal.engine.slots import Slot
from ixmodal.models.vocabulary import TokenType, Vocabulary

RESULTS = Path(__file__).parent / "results"
SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "temperature 0.8": {"temperature": 0.8},
    "top_p 0.95": {"temperature": 0.8, "top_p": 0.95},
    "top_k 40": {"temperature": 0.8, "top_k": 40},
    "top_k 40, top_p 0.95": {"temperature": 0.8, "top_k": 40, "top_p": 0.95},
    "min_p 0.05": {"temperature": 0.8, "min_p": 0.05},
    "typical_p 0.95": {"temperature": 0.8, "typical_p": 0.95},
    "greedy, repetition_penalty 1.1": {"temperature": 0.0, "repetition_penalty": 1.1},
    "greedy, logprobs 5": {"temperature": 0.0, "logprobs": 5},
}


def vocabulary_of(size: int) -> Vocabulary:
    """A vocabulary of words without meaning."""
    return Vocabulary([b"t%d" % token for token in range(size)], [TokenType.NORMAL] * size, bos_id=0, eos_id=None)


def logits_of(size: int, count: int) -> list[Logits]:
    """Several vectors of logits, shape (size,)."""
    rng = np.random.default_rng(1)
    falling = -1.5 * np.log1p(np.arange(size, dtype=np.float32))
    return [rng.permutation(falling + rng.standard_normal(size, dtype=np.float32)) for _ in range(count)]


def microseconds(vocabulary: Vocabulary, logits: list[Logits], params: SamplingParams, tokens: int) -> float:
    """The median over an answer's tokens."""
    sequence = Sequence(1, Slot(0), [1], replace(params, max_tokens=tokens + 1, seed=1), vocabulary, 1 << 20)
    took = []
    for number in range(tokens):
        own = logits[number % len(logits)].copy()
        began = time.thread_time_ns()
        sequence.sample(own)
        took.append(time.thread_time_ns() - began)
    return statistics.median(took) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32_000, 150_000])
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name}/sampling.json")
    options = parser.parse_args()
    rows: dict[str, dict[int, float]] = {name: {} for name in SAMPLINGS}
    for size in options.sizes:
        vocabulary, logits = vocabulary_of(size), logits_of(size, 16)
        for name, values in SAMPLINGS.items():
            spent = microseconds(vocabulary, logits, SamplingParams(**values), options.tokens)
            rows[name][size] = round(spent, 1)
            print(f"{size:7d} tokens, {name:32s} {spent:8.1f} µs", flush=True)
    if options.record:
        record = {"machine": describe_machine(), "microseconds": rows}
        (RESULTS / "sampling.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
