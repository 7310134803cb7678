"""What was seen of a server's speed, and the figures that explain it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass, field

from ixmodal.errors import EngineError
from ixmodal.planning.speeds import Speeds


@dataclass(frozen=True)
class FirstToken:
    """Seconds until the first token after `prompt_tokens`, while `beside` other sequences decoded."""

    prompt_tokens: int
    seconds: float
    beside: int = 0


@dataclass(frozen=True)
class DecodeStep:
    """Seconds a token of each of `sequences` that decoded together, each holding `context` tokens on average."""

    sequences: int
    seconds: float
    context: float = 0.0


@dataclass
class Observations:
    """Any number of observations; those of several moments add up to figures of the time in between."""

    batch_size: int
    first_tokens: list[FirstToken] = field(default_factory=list)
    steps: list[DecodeStep] = field(default_factory=list)

    def __add__(self, other: Observations) -> Observations:
        return Observations(self.batch_size, self.first_tokens + other.first_tokens, self.steps + other.steps)

    def fit(self, batches: bool | None = None) -> Speeds:
        """The figures under which these observations are likeliest.

        A prompt of n tokens alone takes the overhead, a forward's own seconds for each `batch_size` of it, and n times
        a token's. Raises `EngineError` if there is too little to tell.
        """
        context = self._context_token()
        steps = self._decode_steps(context)
        alone = [(tokens, seconds) for (beside, tokens), seconds in self._firsts().items() if not beside]
        if len(alone) < 2 or not steps:
            raise EngineError("too little was observed: two lengths of prompts and a decode step are needed")
        shortest = min(alone)
        if shortest[0] == 1:
            # Such a request is one forward of one token, as is a decode step; the rest is the way there and back.
            overhead = max(0.0, shortest[1] - steps[0])
            alone.remove(shortest)
        else:
            overhead = max(0.0, _line([(1.0, float(tokens), seconds) for tokens, seconds in alone])[0])
        rows = [(float(-(-n // self.batch_size)), float(n), seconds - overhead) for n, seconds in alone]
        forward, token = _line(rows)
        figures = Speeds(
            prefill_tokens_per_second=1 / max(token, 1e-9),
            prefill_forward_seconds=forward,
            decode_step_seconds=tuple(steps),
            context_token_seconds=context,
            batches=batches,
            overhead_seconds=overhead,
        )
        mixed = self._mixed(figures) if figures.is_batching else None
        return figures.model_copy(update={"batches": figures.is_batching, "mixed_prefill_tokens_per_second": mixed})

    def _firsts(self) -> dict[tuple[int, int], float]:
        groups = defaultdict[tuple[int, int], list[float]](list)
        for seen in self.first_tokens:
            groups[seen.beside, seen.prompt_tokens].append(seen.seconds)
        return {key: _mean(seconds) for key, seconds in groups.items()}

    def _context_token(self) -> float:
        """What a token in the cache adds to a step: from steps of one sequence, with little in it and with much."""
        groups = defaultdict[float, list[float]](list)
        for seen in self.steps:
            if seen.sequences == 1:
                groups[seen.context].append(seen.seconds)
        if len(groups) < 2:
            return 0.0
        little, much = min(groups), max(groups)
        return max(0.0, (_mean(groups[much]) - _mean(groups[little])) / (much - little))

    def _decode_steps(self, context_token: float) -> list[float]:
        """The step of each count of sequences with nothing cached; between two counts that were observed, in line."""
        groups = defaultdict[int, list[float]](list)
        for seen in self.steps:
            groups[seen.sequences].append(seen.seconds - seen.sequences * seen.context * context_token)
        known = sorted((count, max(1e-6, _mean(seconds))) for count, seconds in groups.items())
        steps: list[float] = []
        for (low, first), (high, last) in zip([*known[:1], *known[:-1]], known, strict=True):
            steps += [
                last if high == low else first + (last - first) * (n - low) / (high - low)
                for n in range(len(steps) + 1, high + 1)
            ]
        return steps

    def _mixed(self, figures: Speeds) -> float | None:
        """Prompt tokens a second beside others that decode, from prompts of less than a batch.

        On average a request comes in the middle of a step, whose end it waits for.
        """
        rates = []
        for (beside, tokens), seconds in self._firsts().items():
            if beside:
                spent = seconds - figures.overhead_seconds - 1.5 * figures.decode_step(beside)
                rates.append(tokens / max(spent, 1e-9))
        return statistics.median(rates) if rates else None


def _mean(seconds: list[float]) -> float:
    """The mean, in which none counts more than twice the median: work is means, hiccups are not work."""
    most = 2 * statistics.median(seconds)
    return statistics.fmean(min(value, most) for value in seconds)


def _line(rows: list[tuple[float, float, float]]) -> tuple[float, float]:
    """Least squares of the relative error: a >= 0 and b of y = a·u + b·v for rows of (u, v, y > 0)."""
    weighed = [(u / max(y, 1e-9), v / max(y, 1e-9)) for u, v, y in rows]
    uu, uv, vv = (
        sum(x * y for x, y in pairs) for pairs in ([(u, u) for u, _ in weighed], weighed, [(v, v) for _, v in weighed])
    )
    su, sv = sum(u for u, _ in weighed), sum(v for _, v in weighed)
    determinant = uu * vv - uv * uv
    if determinant > 1e-12 * uu * vv:
        a, b = (su * vv - sv * uv) / determinant, (sv * uu - su * uv) / determinant
        if a >= 0 and b > 0:
            return a, b
    return 0.0, sv / vv
