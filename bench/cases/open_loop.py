"""Requests that come at random times, whether the server keeps up or not."""

from __future__ import annotations

from bench.fleet import fleet
from bench.grid import Grid, first_tokens
from bench.grid import measure as measure_grid
from bench.models import NAMES, model_file
from bench.options import Options
from bench.record import Record, Table, milliseconds, number
from bench.runs import runs_of
from bench.servers import Setup
from ixmodal.benchmark.statistics import Distribution

RATES = (0.8, 2.5)
SECONDS = 12


def measure(options: Options) -> Record:
    """Poisson arrivals at a rate that all can bear and at one that only batching can."""
    setup = Setup(model_file("110m"), slots=16, context=256, threads=options.threads)
    steps = {
        f"{rate:g}/s": {
            "rate": rate,
            "conversations": round(rate * SECONDS),
            "chat": False,
            "prompt_words": 32,
            "max_tokens": 32,
        }
        for rate in RATES
    }
    with fleet(options.servers, setup) as servers:
        grid = measure_grid(servers, steps, options.repetitions or 1, budget=150)
        problems = servers.problems
    about = (
        f"{NAMES['110m']}; {setup.threads} thread(s), 16 slots; prompts of 32 words, answers of 32 tokens, at Poisson "
        f"times for some {SECONDS} s; {grid.repetitions} interleaved repetitions, times of all pooled."
    )
    tables = [_table(grid, options.servers, step) for step in steps]
    return Record("open_loop", about, {}, tables, runs=runs_of(grid), problems=sorted(set(problems)))


def _table(grid: Grid, servers: tuple[str, ...], step: str) -> Table:
    rows = []
    for server in servers:
        times = Distribution.of(grid.pooled(server, step, first_tokens))
        whole = Distribution.of(
            grid.pooled(server, step, lambda measured: [a.ended for a in measured.run.answers if a.is_complete])
        )
        cells = [measured for measured in grid.cells.get((server, step), []) if measured]
        asked = sum(measured.summary.requests for measured in cells)
        complete = sum(measured.summary.complete for measured in cells)
        firsts = [milliseconds(times and getattr(times, field)) for field in ("p50", "p95")]
        rows.append([server, f"{complete} of {asked}", *firsts, number(whole and whole.p95, 2)])
    columns = ["", "complete", "first token p50, ms", "p95, ms", "whole answer p95, s"]
    return Table(f"Requests at {step}", columns, rows)
