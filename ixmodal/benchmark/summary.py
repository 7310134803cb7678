"""A run in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

import msgspec

from ixmodal.benchmark.load import Answer, Run
from ixmodal.benchmark.statistics import Distribution


class Summary(msgspec.Struct, kw_only=True):
    """What one run came to. Tokens and times are complete answers'; the others are counted by what befell them."""

    requests: int
    complete: int
    outcomes: dict[str, int]
    detail: str
    """What the first failure said."""
    finish_reasons: dict[str, int]
    seconds: float
    requests_per_second: float
    tokens: int
    """As usage counts them, or as deltas arrived where a server tells no usage."""
    deltas: int
    """Events with text: fewer than tokens where several came in one."""
    counted_by: str
    tokens_per_second: float
    """Of all streams together, prompts included in the time."""
    decode_tokens_per_second: float | None
    """Of one stream between its first and its last event with text: the median over streams."""
    prompt_tokens: int
    cached_tokens: int
    first_token: Distribution | None
    inter_token: Distribution | None
    """Between one event with text and the next."""
    whole_answer: Distribution | None
    processor_share: float
    """Of one core, by the generator."""
    most_late: float
    """Seconds by which a request was sent too late at most."""


def summarise(run: Run) -> Summary:
    """Figures of a run."""
    complete = [answer for answer in run.answers if answer.is_complete]
    tokens = sum(answer.tokens for answer in complete)
    by_usage = bool(complete) and all(answer.completion_tokens is not None for answer in complete)
    speeds = Distribution.of(list(_speeds(complete)))
    return Summary(
        requests=len(run.answers),
        complete=len(complete),
        outcomes=dict(Counter(answer.outcome for answer in run.answers)),
        detail=next((answer.detail for answer in run.answers if answer.detail), ""),
        finish_reasons=dict(Counter(answer.finish_reason or "none" for answer in complete)),
        seconds=run.seconds,
        requests_per_second=len(complete) / run.seconds,
        tokens=tokens,
        deltas=sum(len(answer.deltas) for answer in complete),
        counted_by="usage" if by_usage else "deltas",
        tokens_per_second=tokens / run.seconds,
        decode_tokens_per_second=speeds.p50 if speeds else None,
        prompt_tokens=sum(answer.prompt_tokens or 0 for answer in complete),
        cached_tokens=sum(answer.cached_tokens or 0 for answer in complete),
        first_token=Distribution.of([answer.deltas[0] for answer in complete if answer.deltas]),
        inter_token=Distribution.of([b - a for answer in complete for a, b in pairwise(answer.deltas)]),
        whole_answer=Distribution.of([answer.ended for answer in complete]),
        processor_share=run.processor_seconds / run.seconds,
        most_late=max(answer.late for answer in run.answers),
    )


def _speeds(answers: Iterable[Answer]) -> Iterable[float]:
    for answer in answers:
        if len(answer.deltas) > 1 and answer.deltas[-1] > answer.deltas[0]:
            # Of what came after the first event; with one token an event that is all tokens but one.
            share = (len(answer.deltas) - 1) / len(answer.deltas)
            yield answer.tokens * share / (answer.deltas[-1] - answer.deltas[0])
