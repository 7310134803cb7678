"""Finding the few tokens of a vocabulary that matter without sorting it, and drawing one of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

_BLOCK = 64
_DRAWN_BLOCK = 128
_FIRST_CANDIDATES = 128


def likeliest(values: Floats, count: int) -> Ints:
    """Ids of the `count` greatest of `values` (no NaN), greatest first, ties by lower id."""
    size = len(values)
    if count >= size:
        return np.argsort(-values, kind="stable")
    blocks = size // _BLOCK
    if count <= blocks // 2:
        # So many blocks have a value of at least the threshold: so have so many values, and few others have.
        maxima = values[: blocks * _BLOCK].reshape(_BLOCK, blocks).max(axis=0)
        threshold = np.partition(maxima, blocks - count)[blocks - count]
    else:
        threshold = np.partition(values, size - count)[size - count]
    ids = np.flatnonzero(values >= threshold)
    return ids[np.argsort(-values[ids], kind="stable")[:count]]


def nucleus(weights: Floats, wanted: float, key: Floats | None = None, limit: int | None = None) -> Ints:
    """Ids of the fewest `weights` that together reach `wanted`, those of the greatest `key` first; `limit` at most."""
    key = weights if key is None else key
    limit = min(limit or len(weights), len(weights))
    # Sorting a whole vocabulary takes milliseconds; the nucleus is nearly always among the first few hundred.
    count = min(limit, _FIRST_CANDIDATES)
    while True:
        ids = likeliest(key, count)
        reached = np.cumsum(weights[ids], dtype=np.float64)
        if count == limit or reached[-1] >= wanted:
            return ids[: int(reached.searchsorted(wanted)) + 1]
        count = min(limit, count * 8)


def draw(weights: Floats, fraction: float) -> int:
    """The index at which `fraction`, from 0 up to 1, of the sum of all weights is reached; never one of weight 0."""
    whole = len(weights) // _DRAWN_BLOCK * _DRAWN_BLOCK
    if whole < 4 * _DRAWN_BLOCK:
        return _reach(weights, fraction)[0]
    sums = np.append(weights[:whole].reshape(-1, _DRAWN_BLOCK).sum(axis=1), weights[whole:].sum())
    block, rest = _reach(sums, fraction)
    start = block * _DRAWN_BLOCK
    return start + _reach(weights[start : start + _DRAWN_BLOCK] if start < whole else weights[whole:], rest)[0]


def _reach(weights: Floats, fraction: float) -> tuple[int, float]:
    """The index, and what fraction of its own weight is needed."""
    cumulative = np.cumsum(weights, dtype=np.float64)
    drawn = fraction * cumulative[-1]
    last = int(cumulative.searchsorted(cumulative[-1]))  # rounding may lead to the end; what follows weighs nothing
    index = min(int(cumulative.searchsorted(drawn, side="right")), last)
    before = float(cumulative[index - 1]) if index else 0.0
    return index, min(1.0, (drawn - before) / (float(cumulative[index]) - before))
