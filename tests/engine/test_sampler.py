from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ixmodal.engine.request import SamplingParams
from ixmodal.engine.sampler import Sampler
from ixmodal.errors import EngineError

Logits = NDArray[np.float32]
END = 3


def sampler(prompt: tuple[int, ...] = (), **params: Any) -> Sampler:
    return Sampler(SamplingParams(**params), prompt, frozenset({END}))


def random_logits(size: int, seed: int, spread: float = 2.0) -> Logits:
    return (np.random.default_rng(seed).standard_normal(size) * spread).astype(np.float32)


def distribution(logits: Logits, temperature: float, top_k: int, top_p: float, min_p: float) -> dict[int, float]:
    """The definition, written out: sort, cut, renormalise."""
    scaled = logits.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    kept = sorted(range(len(logits)), key=lambda token: -weights[token])[: top_k or len(logits)]
    total, reached, nucleus = sum(weights[token] for token in kept), 0.0, []
    for token in kept:
        nucleus.append(token)
        reached += weights[token] / total
        if reached >= top_p:
            break
    final = [token for token in nucleus if weights[token] >= min_p * weights[nucleus[0]]]
    total = sum(weights[token] for token in final)
    return {token: float(weights[token] / total) for token in final}


def drawn(chooser: Sampler, logits: Logits, times: int) -> Counter[int]:
    return Counter(chooser.sample(logits.copy()) for _ in range(times))


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "min_p"),
    [
        (1.0, 0, 1.0, 0.0),
        (0.5, 0, 1.0, 0.0),
        (2.0, 0, 1.0, 0.0),
        (1.0, 5, 1.0, 0.0),
        (1.0, 99, 1.0, 0.0),
        (1.0, 0, 0.7, 0.0),
        (1.5, 0, 0.95, 0.0),
        (1.0, 0, 0.0, 0.0),
        (1.0, 0, 1.0, 0.2),
        (1.0, 0, 1.0, 1.0),
        (0.8, 12, 0.8, 0.0),
        (1.3, 12, 0.9, 0.1),
    ],
)
def test_draws_follow_the_definition(temperature: float, top_k: int, top_p: float, min_p: float) -> None:
    params = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    for seed in range(3):
        logits = random_logits(24, seed, spread=1.0)
        expected = distribution(logits, temperature, top_k, top_p, min_p)
        found = drawn(sampler(seed=seed, **params), logits, 3000)
        assert set(found) <= set(expected)
        assert {token for token, share in expected.items() if share > 0.005} <= set(found)
        distance = sum(abs(found[token] / 3000 - share) for token, share in expected.items()) / 2
        assert distance < 0.05


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.4), (0, 0.9), (700, 1.0), (700, 0.9)])
def test_a_wide_nucleus_is_found_in_a_large_vocabulary(top_k: int, top_p: float) -> None:
    logits = random_logits(1500, 1, spread=0.3)  # flat: the nucleus is far wider than the first candidates
    expected = distribution(logits, 1.0, top_k, top_p, 0.0)
    assert len(expected) > 300
    found = drawn(sampler(seed=1, top_k=top_k, top_p=top_p), logits, 2500)
    assert set(found) <= set(expected)
    assert len(found) > 0.75 * len(expected)


@pytest.mark.parametrize(
    "params", [{"temperature": 0.0}, {"top_k": 1}, {"temperature": 0.0, "top_p": 0.1, "min_p": 0.9}]
)
def test_greedy_takes_the_likeliest(params: dict[str, Any]) -> None:
    for seed in range(20):
        logits = random_logits(100, seed)
        assert sampler(**params).sample(logits.copy()) == int(logits.argmax())


@pytest.mark.parametrize("temperature", [1e-6, 1e-30, 1e-45, 1e-60, 5e-324])
def test_temperatures_close_to_zero_are_greedy(temperature: float) -> None:
    logits = random_logits(100, 7, spread=50)
    assert drawn(sampler(temperature=temperature), logits, 50) == {int(logits.argmax()): 50}


@pytest.mark.parametrize("temperature", [2.0, 1e6, 1e30])
def test_high_temperatures_stay_finite(temperature: float) -> None:
    logits = np.array([-1e30, 0, 50, 3e38], dtype=np.float32)
    assert drawn(sampler(temperature=temperature), logits, 20)
    if temperature == 1e6:
        flat = drawn(sampler(temperature=temperature, seed=0), random_logits(4, 1), 4000)
        assert all(abs(count - 1000) < 150 for count in flat.values())


def test_equal_logits_are_equally_likely() -> None:
    found = drawn(sampler(seed=0), np.zeros(4, np.float32), 4000)
    assert all(abs(count - 1000) < 150 for count in found.values())


def test_a_seed_repeats_its_choices() -> None:
    logits = random_logits(500, 5)

    def answer(seed: int | None) -> list[int]:
        chooser = sampler(seed=seed)
        return [chooser.sample(logits.copy()) for _ in range(40)]

    assert answer(7) == answer(7)
    assert answer(-1) == answer(-1)
    assert len({tuple(answer(seed)) for seed in (7, 8, -1, 0, 2**63, 2**64 - 2)}) == 6
    assert answer(None) != answer(None)


def test_a_seed_is_no_fixed_quantile() -> None:
    chooser = sampler(seed=11)
    assert len({chooser.sample(np.zeros(1000, np.float32)) for _ in range(50)}) > 40


@pytest.mark.parametrize("penalty", [5e-324, 1e-45, 1e-30])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 5e-324])
def test_a_repetition_penalty_next_to_zero_is_no_damage(penalty: float, temperature: float) -> None:
    chooser = sampler((0, 1, 2), repetition_penalty=penalty, temperature=temperature)
    assert chooser.sample(np.array([-1.0, 2.0, 0.0, 1.0], dtype=np.float32)) == 1
    with pytest.raises(EngineError):
        chooser.sample(np.array([1.0, np.inf, 0.0, 1.0], dtype=np.float32))


def test_repetition_penalty_divides_the_positive_and_multiplies_the_negative() -> None:
    logits = np.array([2.0, -1.0, 0.0, 3.0, 1.9], dtype=np.float32)
    chooser = sampler((0, 1, 2), repetition_penalty=2.0, temperature=0.0)
    adjusted = logits.copy()
    assert chooser.sample(adjusted) == 3
    assert adjusted.tolist() == pytest.approx([1.0, -2.0, 0.0, 3.0, 1.9])
    again = logits.copy()
    assert chooser.sample(again) == 4  # 3 was generated meanwhile
    assert again.tolist() == pytest.approx([1.0, -2.0, 0.0, 1.5, 1.9])


def test_frequency_and_presence_count_the_answer_alone() -> None:
    chooser = sampler((1, 1, 1), frequency_penalty=0.5, presence_penalty=0.25, temperature=0.0)
    generated = []
    for _ in range(3):
        logits = np.array([5.0, 4.5, 0.0, 0.0], dtype=np.float32)
        generated.append(chooser.sample(logits))
    assert generated == [0, 1, 0]
    logits = np.array([5.0, 4.5, 0.0, 0.0], dtype=np.float32)
    chooser.sample(logits)
    assert logits.tolist() == pytest.approx([5 - 2 * 0.5 - 0.25, 4.5 - 0.5 - 0.25, 0, 0])


def test_negative_penalties_encourage() -> None:
    chooser = sampler(presence_penalty=-2.0, temperature=0.0)
    assert [chooser.sample(np.array([1.0, 0.9], dtype=np.float32)) for _ in range(2)] == [0, 0]
    logits = np.array([1.0, 2.9], dtype=np.float32)
    assert chooser.sample(logits) == 0
    assert logits[0] == 3.0


def test_logit_bias_is_added() -> None:
    logits = np.array([1.0, 0.0, 0.0, 0.0], dtype=np.float32)
    assert sampler(logit_bias={2: 1.5, 0: -100.0}, temperature=0.0).sample(logits) == 2
    assert logits.tolist() == [-99.0, 0.0, 1.5, 0.0]


def test_neutral_params_leave_the_logits_as_they_are() -> None:
    logits = random_logits(50, 1)
    given = logits.copy()
    sampler((1, 2, 3)).sample(given)
    assert (given == logits).all()


def test_an_answer_can_not_end_before_min_tokens() -> None:
    logits = np.array([0.0, 1.0, 0.0, 9.0, 5.0], dtype=np.float32)
    chooser = sampler(min_tokens=2, stop_token_ids=(4,), temperature=0.0)
    assert [chooser.sample(logits.copy()) for _ in range(3)] == [1, 1, END]


def test_ignore_eos_goes_past_the_models_end_but_not_the_callers() -> None:
    logits = np.array([0.0, 1.0, 0.0, 9.0, 5.0], dtype=np.float32)
    chooser = sampler(ignore_eos=True, stop_token_ids=(4,), temperature=0.0)
    assert [chooser.sample(logits.copy()) for _ in range(2)] == [4, 4]
    assert END not in drawn(sampler(ignore_eos=True, temperature=2.0), logits, 200)


def test_ruled_out_tokens_are_never_drawn() -> None:
    logits = np.full(50, -np.inf, dtype=np.float32)
    logits[[7, 30]] = 1.0
    for params in ({}, {"top_k": 10}, {"top_p": 0.99}, {"min_p": 0.1}, {"temperature": 1e-40}, {"temperature": 0.0}):
        assert set(drawn(sampler(seed=1, **params), logits, 60)) <= {7, 30}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("at", [0, 5, 9])
@pytest.mark.parametrize("params", [{}, {"temperature": 0.0}, {"top_k": 3}, {"top_p": 0.5}, {"min_p": 0.5}], ids=str)
def test_what_is_no_number_is_an_error(bad: float, at: int, params: dict[str, Any]) -> None:
    logits = random_logits(10, 1)
    logits[at] = bad
    with pytest.raises(EngineError, match="no finite logits"):
        sampler(**params).sample(logits)


def test_nothing_left_to_choose_is_an_error() -> None:
    with pytest.raises(EngineError, match="no finite logits"):
        sampler().sample(np.full(10, -np.inf, dtype=np.float32))


def test_typical_keeps_the_tokens_of_typical_surprise() -> None:
    # One token of nearly no surprise, many of a typical one: the many are the typical ones.
    shares = np.array([0.5] + [0.05] * 10)
    surprise, entropy = -np.log(shares), -(shares * np.log(shares)).sum()
    closest = int(np.argmin(np.abs(surprise - entropy)))
    params = SamplingParams(typical_p=0.01, seed=1)
    drawn = {Sampler(params, [0], frozenset()).sample(np.log(shares).astype(np.float32)) for _ in range(5)}
    assert drawn == {closest}


def test_mirostat_holds_the_mean_surprise() -> None:
    logits = np.random.default_rng(3).normal(0, 3, 5000).astype(np.float32)
    logprobs = logits - np.log(np.exp(logits).sum())

    def mean_surprise(tau: float) -> float:
        sampler = Sampler(SamplingParams(mirostat_tau=tau, mirostat_eta=0.1, seed=2), [0], frozenset())
        chosen = [sampler.sample(logits.copy()) for _ in range(400)]
        return float(np.mean([-logprobs[token] / np.log(2) for token in chosen[100:]]))

    low, high = mean_surprise(2.0), mean_surprise(5.0)
    assert low < high
    assert high - low > 1
