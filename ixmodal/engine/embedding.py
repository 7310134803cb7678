"""A prompt on its way to becoming a vector."""

from __future__ import annotations

import numpy as np

from ixmodal.backends.base import Chunk, Logits
from ixmodal.engine.request import Pooling
from ixmodal.engine.slots import Slot


class Embedding:
    """Like a sequence, but nothing is sampled: the hidden states of its tokens are pooled."""

    def __init__(self, id: int, slot: Slot, prompt: list[int], pooling: Pooling, scored: int = 1) -> None:
        """`scored` tokens at most are read in one forward where every hidden state counts."""
        self.id = id
        self.slot = slot
        self.prompt_tokens = len(prompt)
        self._pending = prompt[len(slot.tokens) :]
        self._pooling = pooling
        self._scored = scored
        self._sum: np.ndarray[tuple[int], np.dtype[np.float64]] | None = None

    @property
    def pending_tokens(self) -> int:
        """Tokens that the next chunk could hold."""
        return min(len(self._pending), self._scored) if self.reads_all else len(self._pending)

    @property
    def reads_all(self) -> bool:
        """Whether the hidden state of every token counts."""
        return self._pooling is Pooling.MEAN

    def next_chunk(self, size: int) -> Chunk:
        """The next tokens to evaluate, up to `size`."""
        size = min(size, self.pending_tokens)
        tokens = self._pending[:size]
        return Chunk(self.slot.index, tokens, len(self.slot.tokens), embeds=True, scores=self.reads_all and size > 1)

    def advance(self, chunk: Chunk) -> bool:
        """Note that `chunk` is in the cache. True if nothing is pending."""
        self.slot.tokens.extend(chunk.tokens)
        del self._pending[: len(chunk.tokens)]
        return not self._pending

    def add(self, hidden: Logits) -> None:
        """Take the hidden state after a chunk, shape (width,), or those of all its tokens, shape (tokens, width)."""
        state = np.atleast_2d(hidden).sum(axis=0, dtype=np.float64)
        self._sum = state if self._sum is None or self._pooling is Pooling.LAST else self._sum + state

    @property
    def vector(self) -> bytes:
        """The pooled vector as little-endian float32."""
        assert self._sum is not None
        return self._sum.astype("<f4").tobytes()
