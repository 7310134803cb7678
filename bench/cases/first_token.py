"""Time to the first token with 8 streams: prompts come while others are answered."""

from __future__ import annotations

from bench.fleet import fleet
from bench.grid import Grid, first_token_p95, first_tokens
from bench.grid import measure as measure_grid
from bench.models import NAMES, model_file
from bench.options import Options
from bench.record import Record, Requirement, Table, milliseconds, number
from bench.runs import runs_of
from bench.servers import Setup
from ixmodal.benchmark.statistics import Distribution

STEP = "8 streams"
LOAD = {"streams": 8, "conversations": 32, "chat": False, "prompt_words": 48, "max_tokens": 24}
BATCHING = ("ixmodal-llama_cpp", "llama-server")


def measure(options: Options) -> Record:
    """A closed loop of four prompts a stream, for the servers that batch."""
    names = tuple(name for name in options.servers if name in BATCHING)
    setup = Setup(model_file("110m"), slots=8, context=256, threads=options.threads)
    with fleet(names, setup) as servers:
        grid = measure_grid(servers, {STEP: dict(LOAD)}, options.repetitions or 7, budget=70)
        problems = servers.problems
    ratio = grid.ratio((BATCHING[0], STEP), (BATCHING[1], STEP), first_token_p95)
    requirement = Requirement(f"{BATCHING[0]} / {BATCHING[1]}, 95th percentile", ratio, at_most=1.0)
    about = (
        f"{NAMES['110m']}; {setup.threads} thread(s), 8 slots; a closed loop of 32 prompts of 48 words, answers of 24 "
        f"tokens, 8 at a time; {grid.repetitions} interleaved repetitions, times of all pooled."
    )
    return Record("first_token", about, {}, [_table(grid, names)], [requirement], runs_of(grid), problems)


def _table(grid: Grid, names: tuple[str, ...]) -> Table:
    rows = []
    for name in names:
        times = Distribution.of(grid.pooled(name, STEP, first_tokens))
        speed = grid.spread(name, STEP, lambda measured: measured.summary.tokens_per_second)
        cells = [milliseconds(times and getattr(times, field)) for field in ("p50", "p90", "p95", "most")]
        rows.append([name, *cells, number(speed and speed.median)])
    return Table("Milliseconds to the first token", ["", "median", "p90", "p95", "most", "tokens/s, all streams"], rows)
