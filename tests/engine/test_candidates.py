from __future__ import annotations

import numpy as np
import pytest

from ixmodal.engine.candidates import draw, likeliest, nucleus


def sorted_ids(values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> list[int]:
    """The definition: greatest first, ties by lower id."""
    return sorted(range(len(values)), key=lambda token: (-values[token], token))


@pytest.mark.parametrize("size", [1, 5, 63, 64, 65, 1000, 5000])
@pytest.mark.parametrize("count", [1, 2, 40, 600, 5000, 9000])
@pytest.mark.parametrize("kind", ["distinct", "ties", "ruled out", "all equal"])
def test_the_likeliest_are_those_of_a_whole_sort(size: int, count: int, kind: str) -> None:
    values = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    if kind == "ties":
        values = np.round(values)
    elif kind == "ruled out":
        values[values < 1] = -np.inf
    elif kind == "all equal":
        values[:] = 1
    assert likeliest(values, count).tolist() == sorted_ids(values)[:count]


@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_nucleus_is_the_shortest_beginning_that_reaches_the_share(spread: float, share: float) -> None:
    weights = np.exp(spread * np.random.default_rng(1).standard_normal(4000)).astype(np.float32)
    wanted = share * float(weights.sum(dtype=np.float64))
    ids = nucleus(weights, wanted).tolist()
    assert ids == sorted_ids(weights)[: len(ids)]
    reached = np.cumsum(weights[ids], dtype=np.float64)
    assert reached[-1] >= wanted
    assert len(ids) == 1 or reached[-2] < wanted


def test_a_nucleus_has_a_limit_and_may_go_by_another_key() -> None:
    weights = np.ones(1000, dtype=np.float32)
    assert nucleus(weights, 500.0, limit=40).tolist() == list(range(40))
    assert nucleus(weights, 3.0, key=np.arange(1000, dtype=np.float32)).tolist() == [999, 998, 997]


@pytest.mark.parametrize("size", [1, 20, 511, 512, 3000])
def test_a_draw_divides_the_weights_as_the_definition_does(size: int) -> None:
    weights = np.random.default_rng(size).random(size).astype(np.float32)
    weights[np.random.default_rng(1).random(size) < 0.3] = 0
    weights[0] = 0.5
    cumulative = np.cumsum(weights, dtype=np.float64) / weights.sum(dtype=np.float64)
    for fraction in (0.0, 0.1, 0.25, 0.5, 0.77, 0.99):
        found = draw(weights, fraction)
        assert weights[found] > 0
        assert cumulative[found] >= fraction - 1e-5
        assert (cumulative[found - 1] if found else 0.0) <= fraction + 1e-5


@pytest.mark.parametrize("size", [3, 3000])
@pytest.mark.parametrize("fraction", [0.0, 0.5, np.nextafter(1.0, 0.0)])
def test_a_draw_never_takes_what_weighs_nothing(size: int, fraction: float) -> None:
    for only in (0, size // 2, size - 1):
        weights = np.zeros(size, dtype=np.float32)
        weights[only] = 1e-30
        assert draw(weights, fraction) == only
