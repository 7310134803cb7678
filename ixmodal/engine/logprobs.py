"""Log-probabilities of tokens, and when each may be told."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from ixmodal.engine.candidates import Floats, likeliest
from ixmodal.engine.request import TokenLogprob
from ixmodal.models.vocabulary import Vocabulary


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Natural log-probabilities, shape (vocabulary,), of the model's own logits."""
    logprobs: NDArray[np.float32] = logits - logits.max()
    logprobs -= np.log(np.exp(logprobs).sum())
    return logprobs


def describe(logprobs: Floats, token: int, alternatives: int, vocabulary: Vocabulary) -> TokenLogprob:
    """A token's log-probability and those of the `alternatives` likeliest tokens, best first, ties by lower id."""
    top: tuple[TokenLogprob, ...] = ()
    if alternatives:
        ids = likeliest(logprobs, alternatives).tolist()
        top = tuple(TokenLogprob(id, vocabulary.piece(id), float(logprobs[id])) for id in ids)
    return TokenLogprob(token, vocabulary.piece(token), float(logprobs[token]), top)


class LogprobQueue:
    """Holds a token's log-probability back as long as its text is held back, and drops it if the text is dropped."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, TokenLogprob]] = deque()
        self._received = 0
        self._released = 0

    def push(self, entry: TokenLogprob) -> None:
        """Add the next token's."""
        self._waiting.append((self._received, entry))
        self._received += len(entry.piece)

    def release(self, text: str) -> tuple[TokenLogprob, ...]:
        """Those of the tokens that `text`, now certain, begins."""
        self._released += len(text.encode())
        told = []
        while self._waiting and self._waiting[0][0] < self._released:
            told.append(self._waiting.popleft()[1])
        return tuple(told)

    def flush(self) -> tuple[TokenLogprob, ...]:
        """All that wait: the answer ended without a stop string."""
        told = tuple(entry for _, entry in self._waiting)
        self._waiting.clear()
        return told
