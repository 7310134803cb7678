"""Decode of one stream through HTTP against the bare library's own loop."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from bench.fleet import Fleet, fleet
from bench.grid import decode_tokens_per_second
from bench.models import NAMES, model_file
from bench.options import Options
from bench.record import Record, Requirement, Table, number
from bench.servers import Setup
from ixmodal.benchmark.statistics import Spread

TOKENS, WORDS, CONTEXT = 256, 16, 512
ENGINE = "ixmodal-ctransformers"
_BUDGET, _TIMEOUT = 90.0, 120.0


def measure(options: Options) -> Record:
    """Both in turn on the same file with the same threads; the order changes with each repetition."""
    setup = Setup(model_file("110m"), slots=1, context=CONTEXT, threads=options.threads)
    rows: list[tuple[float, float]] = []
    with fleet([ENGINE], setup) as servers:
        servers.drive(ENGINE, conversations=1, chat=False, prompt_words=WORDS, max_tokens=16)
        began = time.perf_counter()
        for repetition in range(options.repetitions or 9):
            if (took := time.perf_counter() - began) * (repetition + 1) / max(1, repetition) > _BUDGET:
                print(f"  {took:.0f} s are enough")
                break
            if row := _pair(servers, setup, repetition):
                rows.append(row)
                print(f"  bare {row[0]:6.1f}   through HTTP {row[1]:6.1f}   ratio {row[1] / row[0]:.3f}", flush=True)
        problems = servers.problems
    return _record(setup, rows, problems)


def _pair(servers: Fleet, setup: Setup, repetition: int) -> tuple[float, float] | None:
    def through_http() -> float | None:
        load: dict[str, Any] = {"conversations": 1, "chat": False, "prompt_words": WORDS, "max_tokens": TOKENS}
        measured = servers.drive(ENGINE, seed=repetition + 1, **load)
        return measured and decode_tokens_per_second(measured)

    if repetition % 2:
        speed, alone = through_http(), bare(setup)
    else:
        alone, speed = bare(setup), through_http()
    return (alone, speed) if alone and speed else None


def bare(setup: Setup) -> float | None:
    """Tokens a second of the library's own loop, in a process of its own."""
    arguments = [str(setup.model), str(setup.threads), str(TOKENS), "the of and to in is you that it he was for on are"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.bare_loop", *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=_TIMEOUT,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"  the bare loop: {error}")
        return None
    return float(done.stdout)


def _record(setup: Setup, rows: list[tuple[float, float]], problems: list[str]) -> Record:
    ratio = Spread.of([through / alone for alone, through in rows])
    medians = [Spread.of(list(column)) for column in zip(*rows, strict=True)] or [None, None]
    table = Table(
        "Decode, tokens a second, medians",
        ["bare loop of ctransformers", f"{ENGINE} through HTTP"],
        [[number(median and median.median) for median in medians]],
    )
    about = (
        f"{NAMES['110m']}; {setup.threads} thread(s), one stream of {TOKENS} tokens, from the first to the last; "
        f"{len(rows)} interleaved repetitions."
    )
    requirement = Requirement(f"{ENGINE} through HTTP / bare loop", ratio, at_least=0.98)
    runs = [{"bare": alone, "through_http": through} for alone, through in rows]
    return Record("decode", about, {"threads": setup.threads}, [table], [requirement], runs, problems)
