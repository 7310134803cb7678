"""Interleaved repetitions: every server at every step, again and again, so that the machine's mood falls on all."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.fleet import Fleet, Measured
from ixmodal.benchmark.statistics import Spread

Figure = Callable[[Measured], float | None]


@dataclass
class Grid:
    """What was measured: for each server and step an entry a repetition, None where there was no figure."""

    cells: dict[tuple[str, str], list[Measured | None]] = field(default_factory=dict)
    repetitions: int = 0

    def values(self, server: str, step: str, figure: Figure) -> list[float | None]:
        """One figure of each repetition."""
        return [measured and figure(measured) for measured in self.cells.get((server, step), [])]

    def spread(self, server: str, step: str, figure: Figure) -> Spread | None:
        """Over the repetitions that gave a figure."""
        return Spread.of([value for value in self.values(server, step, figure) if value is not None])

    def ratio(self, above: tuple[str, str], below: tuple[str, str], figure: Figure) -> Spread | None:
        """Of two (server, step) cells, repetition by repetition."""
        return Spread.of_ratios(self.values(*above, figure), self.values(*below, figure))

    def pooled(self, server: str, step: str, times: Callable[[Measured], list[float]]) -> list[float]:
        """Single times of all repetitions together, for percentiles of few requests each."""
        return [value for measured in self.cells.get((server, step), []) if measured for value in times(measured)]


def measure(
    fleet: Fleet,
    steps: Mapping[str, dict[str, Any]],
    repetitions: int,
    budget: float,
    *,
    timeout: float = 60.0,
    seldom: Collection[str] = (),
) -> Grid:
    """Drive all servers of the fleet through all steps (fields of a `Load`), `repetitions` times.

    Begins no repetition that would probably end after `budget` seconds, but always a first one. The servers in `seldom`
    take part in every other repetition only: they are slow, and would leave the others no time.
    """
    grid = Grid()
    began = time.perf_counter()
    took = [0.0, 0.0]
    for repetition in range(repetitions):
        start = time.perf_counter()
        if start - began + took[repetition % 2] > budget:
            break
        slow = seldom if repetition % 2 else ()
        here = [name for name in fleet.names if name not in slow] or list(fleet.names)
        for place, (step, fields) in enumerate(steps.items()):
            turn = (repetition + place) % len(here)  # nobody is always the first, or always after the same
            for name in fleet.names:
                if name not in here:
                    grid.cells.setdefault((name, step), []).append(None)
            for name in here[turn:] + here[:turn]:
                # The same words for all servers, and new ones each time: a cache holds none of them.
                seed = 1 + repetition * len(steps) + place
                measured = fleet.drive(name, timeout, seed=seed, **fields)
                grid.cells.setdefault((name, step), []).append(measured)
                said = f"{measured.summary.tokens_per_second:7.1f} tokens/s" if measured else "no figures"
                print(f"  {repetition + 1} {step:>12} {name:22} {said}", flush=True)
        grid.repetitions += 1
        took[repetition % 2] = time.perf_counter() - start
    return grid


def tokens_per_second(measured: Measured) -> float | None:
    """All streams together; no figure where an answer is missing, which makes the others faster."""
    summary = measured.summary
    return summary.tokens_per_second if summary.complete == summary.requests else None


def decode_tokens_per_second(measured: Measured) -> float | None:
    """Of one stream between its first and its last event with text, median over streams."""
    return measured.summary.decode_tokens_per_second


def processor_ms_a_token(measured: Measured) -> float | None:
    """Processor time of all of the server's processes: hardly longer where other work shares the machine."""
    used = sum(share for role, share in measured.shares.items() if role != "others") * measured.run.seconds
    return 1000 * used / measured.summary.tokens if measured.summary.tokens else None


def first_tokens(measured: Measured) -> list[float]:
    """Seconds to each first token."""
    return [answer.deltas[0] for answer in measured.run.answers if answer.is_complete and answer.deltas]


def first_token_p50(measured: Measured) -> float | None:
    """Median seconds to the first token."""
    times = measured.summary.first_token
    return times.p50 if times else None


def first_token_p95(measured: Measured) -> float | None:
    """95th percentile of the seconds to the first token."""
    times = measured.summary.first_token
    return times.p95 if times else None
