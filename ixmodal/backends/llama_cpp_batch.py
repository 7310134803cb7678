"""The arrays in which llama.cpp takes the tokens of a forward."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from ixmodal.backends.base import Chunk

_BY_SLOT = attrgetter("slot")


class NativeBatch:
    """A `llama_batch` on arrays of NumPy: an element set through ctypes takes as long as a whole array here."""

    def __init__(self, library: Any, size: int) -> None:
        """Room for `size` tokens."""
        self._tokens, self._positions, self._counts, self._slots = (np.ones(size, np.int32) for _ in range(4))
        self._wanted = np.zeros(size, np.int8)
        self.rows = 0
        """Outputs that the library makes of what was filled in."""
        # Each token belongs to one sequence; this array holds where its number stands.
        self._places = self._slots.ctypes.data + 4 * np.arange(size, dtype=np.uintp)
        self.native = library.llama_batch(
            n_tokens=0,
            token=_pointer(self._tokens, ctypes.c_int32),
            embd=None,
            pos=_pointer(self._positions, ctypes.c_int32),
            n_seq_id=_pointer(self._counts, ctypes.c_int32),
            seq_id=_pointer(self._places, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(self._wanted, ctypes.c_int8),
        )

    def fill(self, chunks: Sequence[Chunk], *, outputs_all: bool) -> dict[int, range]:
        """Write chunks that fit. Returns each slot's rows among the outputs, the last token's always.

        With `outputs_all` the library makes a row of each token, asked for or not, as it does for hidden states.
        """
        tokens, positions, slots, wanted = list[int](), list[int](), list[int](), list[bool]()
        rows, row = dict[int, range](), 0
        # The library computes sequences together as long as their numbers follow each other in the batch.
        for chunk in sorted(chunks, key=_BY_SLOT):
            count = len(chunk.tokens)
            tokens += chunk.tokens
            positions += range(chunk.past, chunk.past + count)
            slots += [chunk.slot] * count
            wanted += [chunk.scores] * (count - 1)
            wanted.append(True)
            shown = count if chunk.scores else 1
            row += count if outputs_all else shown
            rows[chunk.slot] = range(row - shown, row)
        count = len(tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = positions
        self._slots[:count] = slots
        self._wanted[:count] = wanted
        self.native.n_tokens = count
        self.rows = row
        return rows


def _pointer(array: np.ndarray[Any, Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))
