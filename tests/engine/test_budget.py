from __future__ import annotations

import pytest

from ixmodal.engine.budget import share


@pytest.mark.parametrize(
    ("wanted", "budget", "given"),
    [
        ([5], 64, [5]),
        ([500], 64, [64]),
        ([1, 500, 1], 64, [1, 62, 1]),
        ([500, 1, 500], 65, [32, 1, 32]),
        ([500, 10, 500, 1], 64, [27, 10, 26, 1]),
        ([500, 500, 500], 3, [1, 1, 1]),
        ([], 64, []),
    ],
)
def test_decoding_first_then_equal_shares(wanted: list[int], budget: int, given: list[int]) -> None:
    found = share(wanted, budget)
    assert sorted(found) == sorted(given)
    assert [n for n, w in zip(found, wanted, strict=True) if w == 1] == [1] * wanted.count(1) or budget == 3
    assert sum(found) == min(budget, sum(wanted))


def test_nobody_gets_nothing() -> None:
    for count in range(1, 65):
        assert min(share([1000] * count, 64)) >= 1
