"""Tokens a second of all streams together, with 1, 4, 8 and 16 streams."""

from __future__ import annotations

from dataclasses import dataclass

from bench.fleet import fleet
from bench.grid import Figure, Grid, decode_tokens_per_second, first_tokens, processor_ms_a_token, tokens_per_second
from bench.grid import measure as measure_grid
from bench.models import NAMES, model_file
from bench.options import Options
from bench.record import Chart, Record, Requirement, Table, milliseconds, number
from bench.runs import runs_of
from bench.servers import Setup
from ixmodal.benchmark.statistics import Distribution

SLOW = ("ixmodal-ctransformers", "llama-cpp-python")


@dataclass(frozen=True)
class Shape:
    """What each stream asks for, on which model."""

    words: int = 16
    tokens: int = 96
    model: str = "110m"
    streams: tuple[int, ...] = (1, 4, 8, 16)
    least: int = 4
    """Requests, where there are fewer streams."""
    repetitions: int = 5
    budget: float = 600
    """Seconds."""


def measure(options: Options) -> Record:
    """Short prompts: most of the time goes into answers."""
    return compare("streams", Shape(), options)


def compare(case: str, shape: Shape, options: Options) -> Record:
    """All servers with each number of streams."""
    streams = options.streams or shape.streams
    setup = Setup(model_file(shape.model), slots=max(streams), context=256, threads=options.threads)
    steps = {
        str(count): {
            "streams": count,
            "conversations": max(shape.least, count),
            "chat": False,
            "prompt_words": shape.words,
            "max_tokens": shape.tokens,
        }
        for count in streams
    }
    with fleet(options.servers, setup) as servers:
        count = options.repetitions or shape.repetitions
        seldom = SLOW if count >= 3 else ()
        grid = measure_grid(servers, steps, count, shape.budget, seldom=seldom, timeout=120)
        problems = servers.problems
    settings = {"model": NAMES[shape.model], "threads": setup.threads, "slots": setup.slots, "context": setup.context}
    rarer = f" (every other one for {' and '.join(seldom)})" if seldom else ""
    about = (
        f"{NAMES[shape.model]}; {setup.threads} thread(s), {setup.slots} slots of {setup.context} tokens; "
        f"a closed loop of prompts of {shape.words} words, answers of {shape.tokens} tokens; "
        f"{grid.repetitions} interleaved repetitions{rarer}, medians."
    )
    tables = [
        _figures(grid, options.servers, streams, "Tokens a second of all streams together", tokens_per_second),
        _figures(grid, options.servers, streams, "Milliseconds of processor time a token", processor_ms_a_token),
        _single(grid, options.servers, streams),
        _arrived(grid, options.servers, streams, shape.tokens),
    ]
    requirements = _requirements(grid, streams) if shape.model == "110m" else []
    record = Record(case, about, settings, tables, requirements, runs_of(grid), sorted(set(problems)))
    steps_named = [str(count) for count in streams]
    series = {name: [grid.spread(name, step, tokens_per_second) for step in steps_named] for name in options.servers}
    record.chart = Chart("tokens/s of all streams", "streams", steps_named, series)
    return record


def _figures(grid: Grid, servers: tuple[str, ...], streams: tuple[int, ...], title: str, figure: Figure) -> Table:
    rows = []
    for server in servers:
        spreads = [grid.spread(server, str(count), figure) for count in streams]
        rows.append([server, *(number(spread and spread.median) for spread in spreads)])
    return Table(title, ["streams", *map(str, streams)], rows)


def _single(grid: Grid, servers: tuple[str, ...], streams: tuple[int, ...]) -> Table:
    rows = []
    for server in servers:
        row = [server]
        for count in streams:
            times = Distribution.of(grid.pooled(server, str(count), first_tokens))
            speed = grid.spread(server, str(count), decode_tokens_per_second)
            row.append(f"{milliseconds(times and times.p50)} / {milliseconds(times and times.p95)}")
            row[-1] += f" / {number(speed and speed.median)}"
        rows.append(row)
    title = "Milliseconds to the first token, median and 95th percentile, and then tokens a second of one stream"
    return Table(title, ["streams", *map(str, streams)], rows)


def _arrived(grid: Grid, servers: tuple[str, ...], streams: tuple[int, ...], asked_of_each: int) -> Table:
    rows = []
    for server in servers:
        cells = [measured for count in streams for measured in grid.cells.get((server, str(count)), []) if measured]
        asked = sum(len(measured.run.answers) * asked_of_each for measured in cells)
        tokens = sum(measured.summary.tokens for measured in cells)
        deltas = sum(measured.summary.deltas for measured in cells)
        by = {measured.summary.counted_by for measured in cells}
        shares = [
            max((measured.shares.get(role, 0.0) for measured in cells), default=0.0)
            for role in ("server", "engine", "others")
        ]
        client = max((measured.summary.processor_share for measured in cells), default=0.0)
        counts = [str(asked), str(tokens), "/".join(sorted(by)) or "–", str(deltas)]
        rows.append([server, *counts, *(f"{share:.2f}" for share in (*shares[:2], client, shares[2]))])
    columns = ["", "tokens asked for", "arrived", "counted by", "events with text"]
    columns += ["cores: server", "its engine process", "client", "idle servers"]
    return Table("What arrived, and the most that a run took of the processor", columns, rows)


def _requirements(grid: Grid, streams: tuple[int, ...]) -> list[Requirement]:
    old, new, peer, slow = "ixmodal-ctransformers", "ixmodal-llama_cpp", "llama-server", "llama-cpp-python"

    def ratio(above: tuple[str, str], below: tuple[str, str], what: str, least: float) -> Requirement:
        return Requirement(what, grid.ratio(above, below, tokens_per_second), at_least=least)

    counts = tuple(map(str, streams))
    found = [ratio((old, count), (slow, count), f"{old} / {slow}, {count} streams", 1.5) for count in counts]
    if 1 in streams:
        several = [count for count in counts if count != "1"]
        found += [ratio((old, count), (old, "1"), f"{old}, {count} streams / 1 stream", 0.98) for count in several]
    found += [ratio((new, count), (peer, count), f"{new} / {peer}, {count} streams", 1.0) for count in counts]
    if 8 in streams:
        found.append(ratio((new, "8"), (slow, "8"), f"{new} / {slow}, 8 streams", 3.0))
    return found
