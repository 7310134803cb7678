"""From logits to one token: penalties, temperature, top-k, top-p, min-p, and one generator a request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ixmodal.engine.request import SamplingParams
from ixmodal.errors import EngineError

if TYPE_CHECKING:
    from ixmodal.engine.constraints import TokenMask

_FIRST_CANDIDATES = 256
_GREATEST = np.finfo(np.float32).max
_LEAST_TEMPERATURE = np.finfo(np.float32).tiny
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class Sampler:
    """Chooses the tokens of one generation. A seed repeats its choices; without one they differ."""

    def __init__(self, params: SamplingParams, prompt: Sequence[int], end_ids: frozenset[int]) -> None:
        self._params = params
        self._random = np.random.default_rng(params.seed if params.seed is None else params.seed & (2**64 - 1))
        self._counts: Counter[int] = Counter()
        self._repeated = set(prompt) if params.repetition_penalty != 1 else set()
        self._eos_ids = np.fromiter(end_ids, np.int64)
        self._end_ids = np.fromiter(end_ids | set(params.stop_token_ids), np.int64)
        self._bias_ids = np.fromiter(params.logit_bias, np.int64)
        self._biases = np.fromiter(params.logit_bias.values(), np.float32)
        self._generated = 0
        self._surprise_limit = 2 * params.mirostat_tau if params.mirostat_tau else 0.0

    def sample(self, logits: Floats, mask: TokenMask | None = None) -> int:
        """The next token, among those that `mask` allows. `logits`, shape (vocabulary,), is changed in place.

        Raises:
            EngineError: the model yields no finite number.
        """
        self._adjust(logits)
        if mask is not None:
            mask.apply(logits)
        params = self._params
        likeliest = int(logits.argmax())
        # The likeliest is NaN where any is: so one look judges all, and -inf remains what it is, a token ruled out.
        if not np.isfinite(logits[likeliest]):
            raise EngineError("the model yields no finite logits; its weights are damaged or not supported")
        greedy = params.temperature == 0 or params.top_k == 1
        token = likeliest if greedy else self._draw(logits, logits[likeliest])
        self._note(token)
        return token

    def _note(self, token: int) -> None:
        self._generated += 1
        self._counts[token] += 1
        if self._params.repetition_penalty != 1:
            self._repeated.add(token)

    def _adjust(self, logits: Floats) -> None:
        params = self._params
        if self._bias_ids.size:
            logits[self._bias_ids] += self._biases
        if self._repeated:
            ids = np.fromiter(self._repeated, np.int64, len(self._repeated))
            logits[ids] = _penalised(logits[ids], np.float32(params.repetition_penalty))
        if self._counts and (params.frequency_penalty or params.presence_penalty):
            ids = np.fromiter(self._counts, np.int64, len(self._counts))
            counts = np.fromiter(self._counts.values(), np.float32, len(self._counts))
            logits[ids] -= counts * np.float32(params.frequency_penalty) + np.float32(params.presence_penalty)
        if self._generated < params.min_tokens:
            logits[self._end_ids] = -np.inf
        elif params.ignore_eos:
            logits[self._eos_ids] = -np.inf

    def _draw(self, logits: Floats, peak: np.float32) -> int:
        params = self._params
        with np.errstate(over="ignore"):  # -inf is the right quotient for a temperature close to 0
            weights = np.exp((logits - peak) / max(np.float32(params.temperature), _LEAST_TEMPERATURE))
        if params.mirostat_tau:
            return self._draw_mirostat(weights)
        if params.typical_p < 1:
            weights = _keep_typical(weights, params.typical_p)
        if params.top_k or params.top_p < 1:
            ids = self._candidates(weights)
            weights = weights[ids]
        else:
            ids = None
        if params.min_p:
            weights = np.where(weights >= params.min_p * weights.max(), weights, 0)
        index = self._pick(weights)
        return index if ids is None else int(ids[index])

    def _draw_mirostat(self, weights: Floats) -> int:
        """Mirostat 2: keep the tokens whose surprise in bits stays below a limit that each choice corrects.

        https://arxiv.org/abs/2007.14966
        """
        params = self._params
        assert params.mirostat_tau
        ids = _top(weights, len(weights))
        shares = weights[ids] / weights.sum(dtype=np.float64)
        kept = max(1, int((shares >= 2.0**-self._surprise_limit).sum()))
        index = self._pick(shares[:kept].astype(np.float32))
        surprise = -float(np.log2(shares[index] / shares[:kept].sum()))
        self._surprise_limit -= params.mirostat_eta * (surprise - params.mirostat_tau)
        return int(ids[index])

    def _pick(self, weights: Floats) -> int:
        cumulative = np.cumsum(weights, dtype=np.float64)
        drawn = self._random.random() * cumulative[-1]
        return min(int(cumulative.searchsorted(drawn, side="right")), len(cumulative) - 1)

    def _candidates(self, weights: Floats) -> Ints:
        """Ids of the tokens that top-k and top-p keep, likeliest first."""
        params, size = self._params, len(weights)
        limit = min(params.top_k or size, size)
        if params.top_p >= 1:
            return _top(weights, limit)
        wanted = params.top_p * _sum_of_top(weights, limit)
        # Sorting a whole vocabulary takes milliseconds; the nucleus is nearly always among the first few hundred.
        count = min(limit, _FIRST_CANDIDATES)
        while True:
            ids = _top(weights, count)
            reached = np.cumsum(weights[ids], dtype=np.float64)
            if count == limit or reached[-1] >= wanted:
                return ids[: int(reached.searchsorted(wanted)) + 1]
            count = min(limit, count * 8)


def _penalised(logits: Floats, penalty: np.float32) -> Floats:
    """Logits nearer to zero, or further from it for a penalty below 1: as far as numbers go, but finite still."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        moved = np.where(logits > 0, logits / penalty, logits * penalty)
    return np.where(np.isfinite(logits), np.clip(moved, -_GREATEST, _GREATEST), logits)


def _keep_typical(weights: Floats, typical_p: float) -> Floats:
    """Zero all but the tokens of the most typical surprise: https://arxiv.org/abs/2202.00666."""
    shares = weights / weights.sum(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = np.where(shares > 0, -np.log(shares), np.inf)
        entropy = np.where(shares > 0, shares * surprise, 0).sum()
    order = np.argsort(np.abs(surprise - entropy), kind="stable")
    kept = order[: int(np.cumsum(shares[order]).searchsorted(typical_p)) + 1]
    typical = np.zeros_like(weights)
    typical[kept] = weights[kept]
    return typical


def _top(weights: Floats, count: int) -> Ints:
    ids = np.argpartition(weights, -count)[-count:] if count < len(weights) else np.arange(len(weights))
    return ids[np.argsort(-weights[ids], kind="stable")]


def _sum_of_top(weights: Floats, count: int) -> float:
    kept = np.partition(weights, -count)[-count:] if count < len(weights) else weights
    return float(kept.sum(dtype=np.float64))
