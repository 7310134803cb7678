"""The requests that a plan is made for: drawn at random, or read from a trace."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from ixmodal.errors import SpecError

MAX_ARRIVALS = 500_000
"""Requests of one simulation at most; more take minutes."""


@dataclass(frozen=True)
class Arrival:
    """One request: when it comes (seconds from the start), and its tokens."""

    at: float
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Lengths:
    """A distribution of token counts: `mean`, and `variation`, the standard deviation as a share of the mean.

    Lengths of prompts and answers are close to log-normal; a variation of 0 makes all alike.
    """

    mean: float
    variation: float = 0.0

    def draw(self, random: Random) -> int:
        """One length, at least 1."""
        if self.variation == 0:
            return max(1, round(self.mean))
        # mean and variation of a log-normal: sigma² = ln(1 + v²), mu = ln(mean) - sigma²/2
        spread = math.log(1 + self.variation**2)
        return max(1, round(random.lognormvariate(math.log(self.mean) - spread / 2, math.sqrt(spread))))


def draw_arrivals(rate: float, duration: float, prompt: Lengths, completion: Lengths, seed: int = 0) -> list[Arrival]:
    """Poisson arrivals, `rate` a second for `duration` seconds. Raises `SpecError` if they are too many or none."""
    if rate * duration > MAX_ARRIVALS:
        raise SpecError("the traffic", [f"{rate:g}/s for {duration:g} s is over {MAX_ARRIVALS} requests; shorten it"])
    random = Random(seed)
    arrivals: list[Arrival] = []
    at = random.expovariate(rate)
    while at < duration:
        arrivals.append(Arrival(at, prompt.draw(random), completion.draw(random)))
        at += random.expovariate(rate)
    if not arrivals:
        raise SpecError("the traffic", [f"no request comes in {duration:g} s at {rate:g}/s; lengthen it"])
    return arrivals


def mean_context(arrivals: Sequence[Arrival]) -> float:
    """Tokens in a sequence's cache at a decode step, on average over all steps."""
    tokens = sum(arrival.completion_tokens for arrival in arrivals)
    held = sum(a.completion_tokens * (a.prompt_tokens + a.completion_tokens / 2) for a in arrivals)
    return held / tokens if tokens else 0.0


def read_trace(path: Path) -> list[Arrival]:
    """Arrivals of a .csv (with a header line) or .jsonl file: `at` seconds, `prompt_tokens`, `completion_tokens`.

    Raises:
        SpecError: the file can't be read, is empty, or a line is wrong; each wrong line is named.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SpecError(str(path), [f"can't be read: {reason}"]) from None
    lines = text.splitlines()
    numbered: list[tuple[int, Any]]
    if path.suffix == ".csv":
        numbered = list(enumerate(csv.DictReader(lines), 2))
    else:
        numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    arrivals: list[Arrival] = []
    problems: list[str] = []
    for number, row in numbered:
        try:
            arrivals.append(_arrival(json.loads(row) if isinstance(row, str) else row))
        except (KeyError, TypeError, ValueError):
            problems.append(f"line {number}: needs at >= 0, prompt_tokens >= 1 and completion_tokens >= 1")
    if len(arrivals) > MAX_ARRIVALS:
        problems.append(f"over {MAX_ARRIVALS} requests; cut the trace")
    if problems or not arrivals:
        raise SpecError(str(path), problems[:20] or ["holds no request"])
    return sorted(arrivals, key=lambda arrival: arrival.at)


def _arrival(row: Any) -> Arrival:
    arrival = Arrival(float(row["at"]), int(row["prompt_tokens"]), int(row["completion_tokens"]))
    if not (0 <= arrival.at < math.inf and arrival.prompt_tokens >= 1 and arrival.completion_tokens >= 1):
        raise ValueError("out of bounds")
    return arrival
