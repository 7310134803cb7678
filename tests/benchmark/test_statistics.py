from __future__ import annotations

import pytest

from ixmodal.benchmark.load import Answer, Run
from ixmodal.benchmark.statistics import Distribution, Spread
from ixmodal.benchmark.summary import summarise


def test_percentiles_are_those_of_the_textbook() -> None:
    found = Distribution.of([float(value) for value in range(101)])
    assert found == Distribution(count=101, mean=50, p50=50, p90=90, p95=95, p99=99, most=100)
    two = Distribution.of([1.0, 3.0])
    assert two
    assert (two.p50, two.p90) == (2.0, pytest.approx(2.8))


def test_one_value_is_its_own_percentiles_and_none_has_none() -> None:
    one = Distribution.of([0.25])
    assert one == Distribution(count=1, mean=0.25, p50=0.25, p90=0.25, p95=0.25, p99=0.25, most=0.25)
    assert Distribution.of([]) is None
    assert Spread.of([]) is None


def test_ratios_are_taken_run_by_run() -> None:
    # Of the medians it would be 2 / 4.
    assert Spread.of_ratios([1.0, 2.0, 9.0], [1.0, 8.0, 4.0]) == Spread(1.0, 0.25, 2.25)
    assert Spread.of_ratios([1.0, None, 3.0], [2.0, 2.0, None]) == Spread(0.5, 0.5, 0.5)
    assert Spread.of_ratios([None], [1.0]) is None


def answer(number: int, outcome: str = "complete", tokens: int | None = 5, deltas: tuple[float, ...] = ()) -> Answer:
    return Answer(
        conversation=number,
        turn=0,
        is_long=False,
        due=0.0,
        late=0.01 * number,
        outcome=outcome,
        finish_reason="stop",
        deltas=list(deltas),
        ended=deltas[-1] if deltas else 1.0,
        completion_tokens=tokens,
        prompt_tokens=10,
        cached_tokens=4,
    )


def test_a_summary_counts_what_is_complete() -> None:
    answers = [
        answer(0, deltas=(0.5, 0.6, 0.7, 0.8, 0.9)),
        answer(1, deltas=(0.7, 0.9, 1.1, 1.3, 1.5)),
        answer(2, "cut off", deltas=(0.1, 0.2)),
        answer(3, "status 429"),
    ]
    found = summarise(Run(answers=answers, seconds=2.0, processor_seconds=0.1))
    assert (found.requests, found.complete, found.tokens, found.deltas) == (4, 2, 10, 10)
    assert found.outcomes == {"complete": 2, "cut off": 1, "status 429": 1}
    assert (found.tokens_per_second, found.requests_per_second, found.processor_share) == (5.0, 1.0, 0.05)
    assert (found.prompt_tokens, found.cached_tokens, found.counted_by) == (20, 8, "usage")
    assert found.decode_tokens_per_second == pytest.approx((10 + 5) / 2)  # four in 0.4 s, four in 0.8 s
    assert found.first_token
    assert found.first_token.p50 == pytest.approx(0.6)
    assert found.inter_token
    assert (found.inter_token.p50, found.inter_token.most) == (pytest.approx(0.15), pytest.approx(0.2))
    assert found.most_late == pytest.approx(0.03)


def test_events_of_several_tokens_are_told_from_tokens() -> None:
    # Two events for ten tokens: after the first one, five tokens came in half a second.
    found = summarise(Run(answers=[answer(0, tokens=10, deltas=(0.5, 1.0))], seconds=1.0, processor_seconds=0.0))
    assert (found.tokens, found.deltas, found.decode_tokens_per_second) == (10, 2, pytest.approx(10.0))


def test_nothing_complete_is_no_failure_of_arithmetic() -> None:
    found = summarise(Run(answers=[answer(0, "timed out")], seconds=1.0, processor_seconds=0.0))
    assert (found.tokens_per_second, found.first_token, found.decode_tokens_per_second) == (0.0, None, None)
