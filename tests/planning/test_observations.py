"""The figures that explain what was observed: known figures go in, and have to come out."""

from __future__ import annotations

from random import Random

import pytest

from ixmodal.errors import EngineError
from ixmodal.planning.observations import DecodeStep, FirstToken, Observations
from ixmodal.planning.simulation import simulate
from ixmodal.planning.speeds import Speeds
from ixmodal.planning.traffic import Arrival
from tests.planning.test_engine import DEPLOYMENT

BATCH = 64


def observe(truth: Speeds, lengths: tuple[int, ...], counts: tuple[int, ...], *, noise: float = 0.0) -> Observations:
    """What a meter would see of a server with these figures, five times."""
    dice = Random(1)
    seen = Observations(BATCH)
    for _ in range(5):
        for length in lengths:
            chunks = [BATCH] * (length // BATCH) + ([length % BATCH] if length % BATCH else [])
            spent = truth.decode_step(1) if length == 1 else sum(truth.forward(0, size) for size in chunks)
            seconds = (truth.overhead_seconds + spent) * dice.uniform(1 - noise, 1 + noise)
            seen.first_tokens.append(FirstToken(length, seconds))
        for count in counts:
            seen.steps.append(DecodeStep(count, truth.decode_step(count) * dice.uniform(1 - noise, 1 + noise)))
        if truth.is_batching:
            for beside, length in ((1, 63), (1, 32), (3, 61), (3, 30)):
                wait = truth.decode_step(beside) / 2
                spent = truth.overhead_seconds + wait + truth.forward(beside, length)
                seen.first_tokens.append(FirstToken(length, spent, beside))
    return seen


IN_TURN = Speeds(
    prefill_tokens_per_second=130,
    prefill_forward_seconds=0.007,
    decode_step_seconds=(0.015, 0.03, 0.045, 0.06),
    overhead_seconds=0.004,
)
BATCHED = Speeds(
    prefill_tokens_per_second=600,
    prefill_forward_seconds=0.005,
    decode_step_seconds=(0.012, 0.017, 0.023, 0.0165),
    mixed_prefill_tokens_per_second=420,
    overhead_seconds=0.003,
)


@pytest.mark.parametrize(("truth", "batches"), [(IN_TURN, False), (BATCHED, True)], ids=["in turn", "batched"])
def test_the_figures_come_out(truth: Speeds, batches: bool) -> None:
    found = observe(truth, (1, 16, 32, 64, 128), (1, 2, 3, 4)).fit()
    assert found.is_batching == batches
    assert found.prefill_tokens_per_second == pytest.approx(truth.prefill_tokens_per_second)
    assert found.prefill_forward_seconds == pytest.approx(truth.prefill_forward_seconds)
    assert found.decode_step_seconds == pytest.approx(truth.decode_step_seconds)
    assert found.overhead_seconds == pytest.approx(truth.overhead_seconds)
    assert found.mixed_prefill_tokens_per_second == (pytest.approx(420) if batches else None)


@pytest.mark.parametrize("truth", [IN_TURN, BATCHED], ids=["in turn", "batched"])
def test_noise_moves_them_little(truth: Speeds) -> None:
    found = observe(truth, (1, 16, 32, 64, 128), (1, 2, 3, 4), noise=0.05).fit()
    for size in (16, 64):
        assert found.forward(0, size) == pytest.approx(truth.forward(0, size), rel=0.1)
    assert found.decode_step_seconds == pytest.approx(truth.decode_step_seconds, rel=0.1)


def test_without_a_prompt_of_one_token_the_overhead_is_where_the_line_begins() -> None:
    truth = IN_TURN.model_copy(update={"prefill_forward_seconds": 0.0, "overhead_seconds": 0.05})
    found = observe(truth, (17, 33, 65, 129), (1, 2)).fit()
    assert found.overhead_seconds == pytest.approx(0.05)
    assert found.prefill_tokens_per_second == pytest.approx(130)


def test_a_hiccup_counts_as_twice_the_median_at_most() -> None:
    seen = Observations(BATCH, [FirstToken(1, 0.1), FirstToken(8, 0.2)])
    seen.steps = [DecodeStep(1, seconds) for seconds in (0.010, 0.010, 0.010, 0.010, 3.0)]
    assert seen.fit().decode_step_seconds == pytest.approx((0.012,))


def test_a_step_is_dearer_the_more_is_in_the_cache() -> None:
    seen = Observations(BATCH, [FirstToken(1, 0.1), FirstToken(8, 0.2)])
    seen.steps = [DecodeStep(1, 0.011, 10), DecodeStep(2, 0.022, 10), DecodeStep(1, 0.030, 200)]
    found = seen.fit(batches=False)
    assert found.context_token_seconds == pytest.approx(0.0001)
    assert found.decode_step_seconds == pytest.approx((0.010, 0.020))
    assert found.at_context(200).decode_step_seconds == pytest.approx((0.030, 0.060))
    assert not found.at_context(200).is_batching
    # A simulation takes the mean context of the traffic's steps: here a prompt of 191 tokens and half of 18.
    (job,) = simulate([Arrival(0, 191, 18)], DEPLOYMENT, found).jobs
    assert job.first_token is not None
    assert job.finished == pytest.approx(job.first_token + 17 * 0.030)


def test_counts_between_those_observed_lie_in_line() -> None:
    seen = Observations(BATCH, [FirstToken(1, 0.1), FirstToken(8, 0.2)])
    seen.steps = [DecodeStep(1, 0.010), DecodeStep(2, 0.012), DecodeStep(6, 0.020)]
    assert seen.fit().decode_step_seconds == pytest.approx((0.010, 0.012, 0.014, 0.016, 0.018, 0.020))


def test_observations_of_several_moments_are_taken_together() -> None:
    seen = Observations(BATCH, [FirstToken(1, 0.1), FirstToken(8, 0.2)], [DecodeStep(1, 0.010)])
    later = Observations(BATCH, [FirstToken(1, 0.1), FirstToken(8, 0.2)], [DecodeStep(1, 0.014)])
    assert (seen + later).fit().decode_step_seconds == pytest.approx((0.012,))


def test_too_little_is_said() -> None:
    with pytest.raises(EngineError, match="too little"):
        Observations(BATCH, [FirstToken(8, 0.2)], [DecodeStep(1, 0.1)]).fit()
    with pytest.raises(EngineError, match="too little"):
        Observations(BATCH, [FirstToken(1, 0.1), FirstToken(8, 0.2)]).fit()
