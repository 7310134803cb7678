"""From logits to one token: penalties, temperature, top-k, top-p, min-p, and one generator a request."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ixmodal.engine.candidates import Ints, draw, likeliest, nucleus
from ixmodal.engine.request import SamplingParams
from ixmodal.errors import EngineError

if TYPE_CHECKING:
    from ixmodal.engine.constraints import TokenMask

_NO_IDS = np.empty(0, np.int64)
_GREATEST = np.finfo(np.float32).max
_LEAST_TEMPERATURE = np.finfo(np.float32).tiny
Floats = NDArray[np.float32]


class Sampler:
    """Chooses the tokens of one generation. A seed repeats its choices; without one they differ.

    Nothing here depends on what else is generated at the time. A token costs no sort of the vocabulary, and no look at
    it but those that its parameters need.
    """

    def __init__(self, params: SamplingParams, prompt: Sequence[int], end_ids: frozenset[int]) -> None:
        self._params = params
        self._random = np.random.default_rng(params.seed if params.seed is None else params.seed & (2**64 - 1))
        self._is_greedy = params.temperature == 0 or params.top_k == 1
        self._places: dict[int, int] = {}
        self._repeated = np.unique(np.asarray(prompt, np.int64)) if params.repetition_penalty != 1 else _NO_IDS
        self._repeated_set = set(prompt) if params.repetition_penalty != 1 else set[int]()
        self._penalises = bool(params.frequency_penalty or params.presence_penalty)
        self._chosen, self._counts = _NO_IDS, np.empty(0, np.float32)
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
        token = int(logits.argmax())
        peak = float(logits[token])
        # The likeliest is NaN where any is: so one look judges all, and -inf remains what it is, a token ruled out.
        if not math.isfinite(peak):
            raise EngineError("the model yields no finite logits; its weights are damaged or not supported")
        if not self._is_greedy:
            token = self._draw(logits, peak)
        self._note(token)
        return token

    def _note(self, token: int) -> None:
        self._generated += 1
        if self._penalises:
            place = self._places.setdefault(token, len(self._places))
            if place == len(self._chosen):
                self._chosen, self._counts = np.append(self._chosen, token), np.append(self._counts, np.float32(0))
            self._counts[place] += 1
        if self._params.repetition_penalty != 1 and token not in self._repeated_set:
            self._repeated_set.add(token)
            self._repeated = np.append(self._repeated, token)

    def _adjust(self, logits: Floats) -> None:
        params = self._params
        if self._bias_ids.size:
            logits[self._bias_ids] += self._biases
        if self._repeated.size:
            logits[self._repeated] = _penalised(logits[self._repeated], np.float32(params.repetition_penalty))
        if self._chosen.size:
            frequency, presence = np.float32(params.frequency_penalty), np.float32(params.presence_penalty)
            logits[self._chosen] -= self._counts * frequency + presence
        if self._generated < params.min_tokens:
            logits[self._end_ids] = -np.inf
        elif params.ignore_eos:
            logits[self._eos_ids] = -np.inf

    def _draw(self, logits: Floats, peak: float) -> int:
        params = self._params
        if params.mirostat_tau:
            return self._draw_mirostat(self._weigh(logits, peak))
        if params.typical_p < 1:
            weights = _keep_typical(self._weigh(logits, peak), params.typical_p)
            ids = self._candidates(weights) if params.top_k or params.top_p < 1 else None
        elif params.top_k:
            ids = likeliest(logits, params.top_k)
            logits = logits[ids]
            weights = self._weigh(logits, peak)
            if params.top_p < 1:
                ids = ids[nucleus(weights, params.top_p * float(weights.sum()))]
                weights = weights[: len(ids)]
            return self._pick(weights, ids)
        elif params.top_p < 1:
            weights = self._weigh(logits, peak)
            ids = self._candidates(weights)
        elif params.min_p:
            ids = np.flatnonzero(logits >= peak + params.temperature * math.log(params.min_p))
            return self._pick(self._weigh(logits[ids], peak), ids)
        else:
            ids, weights = None, self._weigh(logits, peak)
        return self._pick(weights if ids is None else weights[ids], ids)

    def _weigh(self, logits: Floats, peak: float) -> Floats:
        """Probabilities relative to the likeliest's."""
        weights: Floats = logits - np.float32(peak)
        with np.errstate(over="ignore"):  # -inf is the right quotient for a temperature close to 0
            weights /= max(np.float32(self._params.temperature), _LEAST_TEMPERATURE)
        np.exp(weights, out=weights)
        return weights

    def _draw_mirostat(self, weights: Floats) -> int:
        """Mirostat 2: keep the tokens whose surprise in bits stays below a limit that each choice corrects.

        https://arxiv.org/abs/2007.14966
        """
        params = self._params
        assert params.mirostat_tau
        shares = weights / weights.sum()
        ids = np.flatnonzero(shares >= min(2.0**-self._surprise_limit, shares.max()))
        kept = shares[ids]
        index = draw(kept, self._random.random())
        surprise = -float(np.log2(kept[index] / kept.sum()))
        self._surprise_limit -= params.mirostat_eta * (surprise - params.mirostat_tau)
        return int(ids[index])

    def _pick(self, weights: Floats, ids: Ints | None) -> int:
        if self._params.min_p:
            weights = np.where(weights >= self._params.min_p * weights.max(), weights, 0)
        index = draw(weights, self._random.random())
        return index if ids is None else int(ids[index])

    def _candidates(self, weights: Floats) -> Ints:
        """Ids of the tokens that top-k and top-p keep, likeliest first."""
        params = self._params
        if params.top_p >= 1:
            return likeliest(weights, params.top_k)
        kept = weights[likeliest(weights, params.top_k)] if params.top_k else weights
        return nucleus(weights, params.top_p * float(kept.sum()), limit=params.top_k)


def _penalised(logits: Floats, penalty: np.float32) -> Floats:
    """Logits nearer to zero, or further from it for a penalty below 1: as far as numbers go, but finite still."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        moved = np.where(logits > 0, logits / penalty, logits * penalty)
    return np.where(np.isfinite(logits), np.clip(moved, -_GREATEST, _GREATEST), logits)


def _keep_typical(weights: Floats, typical_p: float) -> Floats:
    """Zero all but the tokens of the most typical surprise: https://arxiv.org/abs/2202.00666."""
    shares = weights / weights.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = np.where(shares > 0, -np.log(shares), np.inf)
        entropy = np.where(shares > 0, shares * surprise, 0).sum()
    kept = nucleus(shares, typical_p, key=-np.abs(surprise - entropy))
    typical = np.zeros_like(weights)
    typical[kept] = weights[kept]
    return typical
