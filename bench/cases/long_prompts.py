"""Long prompts among short ones: what they do to each other."""

from __future__ import annotations

from itertools import pairwise

from bench.fleet import Measured, fleet
from bench.grid import Grid, tokens_per_second
from bench.grid import measure as measure_grid
from bench.models import NAMES, model_file
from bench.options import Options
from bench.record import Record, Table, milliseconds, number
from bench.runs import runs_of
from bench.servers import Setup
from ixmodal.benchmark.statistics import Distribution

STEP = "mixed"
SHORT, LONG, TOKENS = 16, 768, 32
LOAD = {"streams": 4, "conversations": 8, "chat": False, "prompt_words": SHORT, "long_words": LONG, "long_every": 4}


def measure(options: Options) -> Record:
    """Four streams; every fourth prompt is long."""
    setup = Setup(model_file("110m"), slots=4, context=1024, threads=options.threads)
    with fleet(options.servers, setup) as servers:
        steps = {STEP: {**LOAD, "max_tokens": TOKENS}}
        grid = measure_grid(servers, steps, options.repetitions or 3, budget=100, timeout=90)
        problems = servers.problems
    about = (
        f"{NAMES['110m']}; {setup.threads} thread(s), 4 slots of 1,024 tokens; a closed loop of 8 prompts, 4 at a "
        f"time, 6 of {SHORT} words and 2 of {LONG}, answers of {TOKENS} tokens; {grid.repetitions} interleaved "
        "repetitions, times of all pooled."
    )
    table = _table(grid, options.servers)
    return Record("long_prompts", about, {}, [table], [], runs_of(grid), sorted(set(problems)))


def _table(grid: Grid, servers: tuple[str, ...]) -> Table:
    rows = []
    for server in servers:
        short = Distribution.of(grid.pooled(server, STEP, lambda measured: _firsts(measured, is_long=False)))
        long = Distribution.of(grid.pooled(server, STEP, lambda measured: _firsts(measured, is_long=True)))
        gaps = Distribution.of(grid.pooled(server, STEP, _gaps))
        speed = grid.spread(server, STEP, tokens_per_second)
        row = [milliseconds(value) for value in (short and short.p50, short and short.p95, long and long.p50)]
        row += [milliseconds(gaps and gaps.p95), milliseconds(gaps and gaps.most)]
        rows.append([server, *row, number(speed and speed.median)])
    columns = ["", "first token, short p50", "short p95", "long p50", "between tokens p95", "most", "tokens/s"]
    return Table("Milliseconds, and tokens a second of all streams", columns, rows)


def _firsts(measured: Measured, *, is_long: bool) -> list[float]:
    answers = [answer for answer in measured.run.answers if answer.is_long == is_long and answer.is_complete]
    return [answer.deltas[0] for answer in answers if answer.deltas]


def _gaps(measured: Measured) -> list[float]:
    return [after - before for answer in measured.run.answers for before, after in pairwise(answer.deltas)]
