"""A system prompt that all conversations share: what the first one pays for the others."""

from __future__ import annotations

from bench.fleet import Measured, fleet
from bench.grid import Grid
from bench.grid import measure as measure_grid
from bench.models import NAMES, model_file
from bench.options import Options
from bench.record import Record, Table, milliseconds, number
from bench.runs import runs_of
from bench.servers import Setup
from ixmodal.benchmark.statistics import Distribution

SYSTEM, WORDS, TOKENS, CHATS, STREAMS = 300, 16, 8, 6, 2
STEPS = {
    "shared": {"system_words": SYSTEM, "prompt_words": WORDS},
    "each its own": {"prompt_words": SYSTEM + WORDS},
}


def measure(options: Options) -> Record:
    """Six chats, two at a time: with one system prompt for all, and with as many words of their own."""
    setup = Setup(model_file("110m"), slots=4, context=512, threads=options.threads)
    common = {"streams": STREAMS, "conversations": CHATS, "max_tokens": TOKENS}
    with fleet(options.servers, setup) as servers:
        steps = {step: {**fields, **common} for step, fields in STEPS.items()}
        grid = measure_grid(servers, steps, options.repetitions or 3, budget=80)
        problems = servers.problems
    about = (
        f"{NAMES['110m']}; {setup.threads} thread(s), 4 slots; {CHATS} chats, {STREAMS} at a time, {SYSTEM} words that "
        f"they share before {WORDS} of their own; {grid.repetitions} interleaved repetitions, times of all pooled."
    )
    table = _table(grid, options.servers)
    return Record("system_prompt", about, {}, [table], [], runs_of(grid), sorted(set(problems)))


def _table(grid: Grid, servers: tuple[str, ...]) -> Table:
    rows = []
    for server in servers:
        first = Distribution.of(grid.pooled(server, "shared", lambda measured: _firsts(measured)[:1]))
        later = Distribution.of(grid.pooled(server, "shared", lambda measured: _firsts(measured)[STREAMS:]))
        own = Distribution.of(grid.pooled(server, "each its own", lambda measured: _firsts(measured)[STREAMS:]))
        share = grid.spread(server, "shared", _cached_share)
        cells = [milliseconds(times and times.p50) for times in (first, later, own)]
        told = server != "llama-cpp-python"
        rows.append([server, *cells, number(share and share.median, 2) if told else "not told"])
    columns = ["", "the first chat", "later chats", "later chats without sharing", "prompt tokens from the cache"]
    return Table("Milliseconds to the first token, medians", columns, rows)


def _firsts(measured: Measured) -> list[float]:
    answers = sorted(measured.run.answers, key=lambda answer: answer.conversation)
    return [answer.deltas[0] for answer in answers if answer.deltas]


def _cached_share(measured: Measured) -> float | None:
    summary = measured.summary
    return summary.cached_tokens / summary.prompt_tokens if summary.prompt_tokens else None
