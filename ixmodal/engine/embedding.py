"""A prompt on its way to becoming a vector."""

from __future__ import annotations

import numpy as np

from ixmodal.backends.base import Chunk, Logits
from ixmodal.engine.request import Pooling
from ixmodal.engine.slots import Slot


class Embedding:
    """Like a sequence, but nothing is sampled: the hidden states of its tokens are pooled."""

    def __init__(self, id: int, slot: Slot, prompt: list[int], pooling: Pooling) -> None:
        self.id = id
        self.slot = slot
        self.prompt_tokens = len(prompt)
        self._pending = prompt[len(slot.tokens) :]
        self._pooling = pooling
        self._sum: np.ndarray[tuple[int], np.dtype[np.float64]] | None = None

    def next_chunk(self, batch_size: int) -> Chunk:
        """The next tokens to evaluate: one at a time where every hidden state counts."""
        size = 1 if self._pooling is Pooling.MEAN else batch_size
        return Chunk(self.slot.index, self._pending[:size], len(self.slot.tokens))

    def advance(self, chunk: Chunk) -> bool:
        """Note that `chunk` is in the cache. True if nothing is pending."""
        self.slot.tokens += chunk.tokens
        del self._pending[: len(chunk.tokens)]
        return not self._pending

    def add(self, hidden: Logits) -> None:
        """Take the hidden state after a chunk, shape (width,)."""
        state = hidden.astype(np.float64)
        self._sum = state if self._sum is None or self._pooling is Pooling.LAST else self._sum + state

    @property
    def vector(self) -> bytes:
        """The pooled vector as little-endian float32."""
        assert self._sum is not None
        return self._sum.astype("<f4").tobytes()
