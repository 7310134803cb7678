"""200 concurrent streams of the model that ships: the HTTP path under load."""

from __future__ import annotations

from bench.fleet import Measured, fleet
from bench.grid import Grid, first_tokens, processor_ms_a_token, tokens_per_second
from bench.grid import measure as measure_grid
from bench.models import NAMES, model_file
from bench.options import Options
from bench.record import Record, Requirement, Table, milliseconds, number
from bench.runs import runs_of
from bench.servers import Setup
from ixmodal.benchmark.statistics import Distribution, Spread

STREAMS, TOKENS, SLOTS = 200, 32, 32
STEP = f"{STREAMS} streams"


def measure(options: Options) -> Record:
    """All at once, one answer each."""
    setup = Setup(model_file("demo"), slots=SLOTS, context=256, threads=options.threads)
    load = {"streams": STREAMS, "conversations": STREAMS, "chat": False, "prompt_words": 8, "max_tokens": TOKENS}
    with fleet(options.servers, setup) as servers:
        grid = measure_grid(servers, {STEP: load}, options.repetitions or 3, budget=80, timeout=90)
        problems = servers.problems
    about = (
        f"{NAMES['demo']}; {setup.threads} thread(s), {SLOTS} slots, the rest waits; {STREAMS} prompts of 8 words at "
        f"once, answers of {TOKENS} tokens; {grid.repetitions} interleaved repetitions, medians."
    )
    requirements = [
        Requirement(
            f"{name} / llama-cpp-python, tokens/s",
            grid.ratio((name, STEP), ("llama-cpp-python", STEP), tokens_per_second),
            at_least=2.0,
        )
        for name in options.servers
        if name.startswith("ixmodal")
    ]
    requirements += [
        Requirement(f"{name}, processor time of the HTTP process / its engine's", _shares(grid, name), at_most=1.0)
        for name in options.servers
        if name.startswith("ixmodal")
    ]
    table = _table(grid, options.servers)
    return Record("crowd", about, {}, [table], requirements, runs_of(grid), sorted(set(problems)))


def _shares(grid: Grid, name: str) -> Spread | None:
    return grid.spread(name, STEP, lambda measured: measured.shares["server"] / measured.shares["engine"])


def _table(grid: Grid, servers: tuple[str, ...]) -> Table:
    rows = []
    for server in servers:
        times = Distribution.of(grid.pooled(server, STEP, first_tokens))
        speed = grid.spread(server, STEP, tokens_per_second)
        cells = [measured for measured in grid.cells.get((server, STEP), []) if measured]
        complete = sum(measured.summary.complete for measured in cells)
        asked = sum(measured.summary.requests for measured in cells)
        used = grid.spread(server, STEP, processor_ms_a_token)
        row = [
            server,
            number(speed and speed.median),
            number(used and used.median, 2),
            f"{complete} of {asked}",
            milliseconds(times and times.p95),
        ]
        rows.append(row + [number(_share(grid, server, role), 2) for role in ("server", "engine", "client")])
    columns = [
        "",
        "tokens/s",
        "processor ms a token",
        "complete",
        "first token p95, ms",
        "cores: server",
        "its engine process",
        "client",
    ]
    return Table("All streams together", columns, rows)


def _share(grid: Grid, server: str, role: str) -> float | None:
    def figure(measured: Measured) -> float | None:
        return measured.summary.processor_share if role == "client" else measured.shares.get(role)

    found = grid.spread(server, STEP, figure)
    return found.median if found else None
