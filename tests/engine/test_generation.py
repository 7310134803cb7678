from __future__ import annotations

from itertools import count

import pytest

from ixmodal.engine import generation
from ixmodal.engine.generation import TOKEN_BOUNDS, Generation
from ixmodal.engine.request import FinishReason


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is 40 ms after the last."""
    ticks = count()
    monkeypatch.setattr(generation.time, "monotonic", lambda: 0.04 * next(ticks))


def counted(found: Generation) -> dict[float, int]:
    return {bound: gaps for bound, gaps in zip((*TOKEN_BOUNDS, 99.0), found.gaps, strict=True) if gaps}


def test_times_between_tokens_are_kept_as_classes() -> None:
    found = Generation()
    found.send()
    for tokens in (1, 2, 3):
        found.advance(tokens)
    assert (found.first_token, found.last_token) == pytest.approx((0.08, 0.16))
    assert counted(found) == {0.05: 2}


def test_tokens_that_come_together_share_the_time() -> None:
    found = Generation()
    found.advance(1)
    found.advance(5)
    assert counted(found) == {0.01: 4}
    found.advance(5)
    assert sum(found.gaps) == 4


def test_a_second_try_forgets_the_first() -> None:
    found = Generation()
    found.send()
    found.accept(7, 3)
    found.advance(2)
    found.send()
    assert (found.first_token, found.prompt_tokens, found.completion_tokens, sum(found.gaps)) == (None, 0, 0, 0)


def test_the_first_end_counts() -> None:
    found = Generation()
    found.end(FinishReason.STOP)
    ended = found.ended
    found.end("cancelled")
    assert (found.outcome, found.ended) == (FinishReason.STOP, ended)
