"""What constraints cost: `python -m bench.masks`.

First, microseconds for one mask (computed, expanded and applied, and the token taken) on a vocabulary of 32,000 tokens,
for constraints of several kinds that a model of no preferences follows. Then decode with a JSON schema against decode
without, on the same random-weight file of 110 M parameters in this process, runs of each in turn; and the same with
masks computed by another thread during the forward. Times are the processor's, of this thread, which other work on the
machine hardly lengthens; overlap can only show in the clock's time, which is told as well.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import describe_machine
from ixmodal.backends.base import Chunk, LoadParams
from ixmodal.backends.ctransformers import CtransformersBackend
from ixmodal.engine.constraints import ConstraintCompiler, TokenMask
from ixmodal.engine.request import Constraint, SamplingParams
from ixmodal.engine.sampler import Sampler
from ixmodal.models.tool_calls.formats import HERMES
from tools.random_model import SHAPES, write_random_llama

MODELS = Path(__file__).parent / "models"
RESULTS = Path(__file__).parent / "results"
TEXT = {"type": "string", "maxLength": 40}
FLAT = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "known": {"type": "boolean"},
    },
    "required": ["name", "age", "known"],
    "additionalProperties": False,
}
MANY = {"type": "array", "items": FLAT, "minItems": 1000}
"""Never done within a run."""
NESTED = {
    "$defs": {
        "node": {"type": "object", "properties": {"of": TEXT, "in": {"$ref": "#/$defs/node"}}, "required": ["of"]}
    },
    "type": "array",
    "items": {"anyOf": [{"$ref": "#/$defs/node"}, FLAT, {"enum": [f"choice {n}" for n in range(200)]}]},
    "minItems": 1000,
}
STRICT = {"type": "function", "function": {"name": "find", "parameters": FLAT, "strict": True}}
CONSTRAINTS = {
    "JSON object": Constraint("json_object"),
    "schema, flat objects": Constraint("json_schema", json.dumps(MANY)),
    "schema, recursive, anyOf, 200 choices": Constraint("json_schema", json.dumps(NESTED)),
    "regex, a date": Constraint("regex", "([0-9]{4}-[0-9]{2}-[0-9]{2} )+"),
    "strict tool, free text": Constraint("grammar", HERMES.free_grammar([STRICT])),
}


def model() -> CtransformersBackend:
    """The random model of 110 M parameters, on one thread."""
    MODELS.mkdir(exist_ok=True)
    path = (MODELS / "random-110m-q4_0.gguf").absolute()
    if not path.exists():
        write_random_llama(path, **asdict(SHAPES["110m"]))
    return CtransformersBackend(LoadParams(str(path), 2048, 1, 64, 1, 0, True, False))


def time_masks(
    backend: CtransformersBackend, compiler: ConstraintCompiler, constraint: Constraint, tokens: int
) -> dict[str, float]:
    """Microseconds of compiling, and of masks along an answer by chance, begun anew whenever it is complete."""
    rng = np.random.default_rng(1)
    size, end_ids = len(backend.vocabulary), backend.vocabulary.end_ids
    took: list[float] = []
    compiler.compile(constraint)
    began = time.thread_time()
    mask = compiler.compile(constraint)
    compiled = time.thread_time() - began
    while len(took) < tokens:
        logits = rng.standard_normal(size, dtype=np.float32)
        began = time.thread_time()
        mask.apply(logits)
        spent = time.thread_time() - began
        token = int(logits.argmax())
        began = time.thread_time()
        done = token in end_ids or mask.advance(token)
        took.append(1e6 * (spent + time.thread_time() - began))
        if done:
            mask = compiler.compile(constraint)
    took.sort()
    return {
        "compile_us": round(1e6 * compiled),
        "median_us": round(statistics.median(took)),
        "mean_us": round(statistics.fmean(took)),
        "p99_us": round(took[int(0.99 * len(took))]),
    }


class Decoder:
    """Decodes from the same prompt, token after token, and says how long it took."""

    def __init__(self, backend: CtransformersBackend, tokens: int, pool: ThreadPoolExecutor) -> None:
        self._backend = backend
        self._tokens = tokens
        self._pool = pool
        self._prompt = [1, *backend.tokenize("the of and to in is you that it he was for on are with as")]

    def run(self, mask: TokenMask | None, *, overlap: bool = False) -> tuple[float, float]:
        """Milliseconds a token, after the prompt: the processor's, of this thread, and the clock's."""
        sampler = Sampler(
            SamplingParams(seed=1, ignore_eos=mask is None), self._prompt, self._backend.vocabulary.end_ids
        )
        self._backend.forward([Chunk(0, self._prompt, 0)])
        past = len(self._prompt)
        began = time.thread_time(), time.perf_counter()
        for _ in range(self._tokens):
            token = sampler.sample(self._backend.logits(0), mask)
            if mask is not None:
                mask.advance(token)
            computing = self._pool.submit(mask.compute) if mask is not None and overlap else None
            self._backend.forward([Chunk(0, [token], past)])
            past += 1
            if computing is not None:
                computing.result()
        ended = time.thread_time(), time.perf_counter()
        return 1e3 * (ended[0] - began[0]) / self._tokens, 1e3 * (ended[1] - began[1]) / self._tokens


def time_decoding(decoder: Decoder, compiler: ConstraintCompiler, runs: int) -> dict[str, Any]:
    """Free, constrained, and constrained with overlap, in turn."""
    constraint = CONSTRAINTS["schema, flat objects"]
    rows = []
    for _ in range(runs):
        free = decoder.run(None)
        bound = decoder.run(compiler.compile(constraint))
        overlapped = decoder.run(compiler.compile(constraint), overlap=True)
        rows.append((free, bound, overlapped))
        print(
            "  " + "   ".join(f"{cpu:.2f} ms ({clock:.2f} by the clock)" for cpu, clock in rows[-1]),
            flush=True,
        )
    return {
        "free_ms_a_token": round(statistics.median(row[0][0] for row in rows), 3),
        "speed_constrained_to_free": _ratio([row[0][0] / row[1][0] for row in rows]),
        "speed_constrained_to_free_by_the_clock": _ratio([row[0][1] / row[1][1] for row in rows]),
        "speed_overlapped_to_constrained_by_the_clock": _ratio([row[1][1] / row[2][1] for row in rows]),
    }


def _ratio(ratios: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(ratios), 3),
        "min": round(min(ratios), 3),
        "max": round(max(ratios), 3),
    }


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description="what constraints cost")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--masks", type=int, default=2000)
    parser.add_argument("--record", action="store_true", help="write bench/results/masks.json")
    arguments = parser.parse_args()
    backend = model()
    compiler = ConstraintCompiler(backend.vocabulary, backend.tokenize)
    masks = {}
    for name, constraint in CONSTRAINTS.items():
        masks[name] = time_masks(backend, compiler, constraint, arguments.masks)
        print(f"{name:40} {masks[name]}", flush=True)
    with ThreadPoolExecutor(1) as pool:
        decoding = time_decoding(Decoder(backend, arguments.tokens, pool), compiler, arguments.runs)
    report = {
        "command": "python -m bench.masks " + " ".join(sys.argv[1:]),
        "machine": describe_machine(),
        "python": platform.python_version(),
        "model": "110 M parameters, Q4_0, vocabulary 32,000, random weights, one thread",
        "masks": masks,
        "decoding": decoding,
    }
    print(json.dumps(report, indent=2))
    if arguments.record:
        RESULTS.joinpath("masks.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
