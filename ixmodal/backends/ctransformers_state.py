"""Keys and values of a context of llama.cpp's of September 2023, as bytes.

`llama_copy_state_data` writes, and `llama_set_state_data` reads, without asking how long the data are: a generator's
text, padded; the logits, padded to what is reserved for them; the last hidden state; then keys, shape (blocks, tokens,
width), and values, shape (blocks, width, tokens), of 16 bits each. What is kept here are the keys and values alone, cut
to the tokens that are wanted. The rest is made up again, so that nothing in it can fail the library's assertions.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ixmodal.backends.base import State
from ixmodal.errors import EngineError

_RNG_BYTES = 64 * 1024
_RNG = b"1 " * 624 + b"624"
"""A Mersenne Twister as libstdc++ writes it. The library would sample with it, which nobody asks of it."""
_BEFORE_LOGITS = 8 + _RNG_BYTES
_SPARE = 2 * 1024 * 1024
"""Bytes of a cache's buffer beyond keys and values."""
_FIXED = _BEFORE_LOGITS + 8 + 8 + 8 + 8 + 4
"""Of `llama_get_state_size`, those that count neither logits, hidden state nor cache."""


class StateCopier:
    """Saves and restores contexts that are made alike. Sizes in tokens (`context_length`) or values (the others)."""

    def __init__(self, library: Any, *, blocks: int, context_length: int, width: int, cache_per_token: int) -> None:
        self._library = library
        self._blocks, self._context_length, self._width = blocks, context_length, width
        self._values = cache_per_token // 4  # of keys, and as many of values, of a token in all blocks
        self._buffer = cache_per_token * context_length + _SPARE

    def fits(self, context: int, vocabulary_size: int) -> bool:
        """Whether a context not yet used is laid out as is assumed here."""
        return self._capacity(context) == vocabulary_size and self._values % self._blocks == 0

    def _capacity(self, context: int) -> int:
        """Values for which logits are reserved."""
        total = self._library.llama_get_state_size(context)
        return int(total - _FIXED - 4 * self._width - self._buffer) // 4

    def save(self, context: int, count: int) -> State:
        """Keys and values of the first `count` tokens. Raises `EngineError` if the library gives something else."""
        data = np.empty(self._library.llama_get_state_size(context), np.uint8)
        written = self._library.llama_copy_state_data(context, data.ctypes.data)
        (capacity,) = struct.unpack_from("<Q", data.data, _BEFORE_LOGITS)
        at = _BEFORE_LOGITS + 16 + 4 * capacity + 8 + 4 * self._width
        buffer, held = struct.unpack_from("<Qi", data.data, at)
        at += 12
        if buffer != self._buffer or not 0 < count <= held or written != at + 4 * self._values * held:
            raise EngineError(f"the library saved {held} tokens in {written} bytes; {count} were asked for")
        keys = np.frombuffer(data, np.uint16, self._values * held, at).reshape(self._blocks, held, -1)
        values = np.frombuffer(data, np.uint16, self._values * held, at + 2 * self._values * held).reshape(-1, held)
        state = np.empty((2, self._values * count), np.uint16)
        state[0].reshape(self._blocks, count, -1)[:] = keys[:, :count]
        state[1].reshape(-1, count)[:] = values[:, :count]
        return state.data.cast("B")

    def restore(self, context: int, state: State) -> int:
        """Put keys and values in a context; returns of how many tokens. Raises `EngineError` for another's state."""
        count, rest = divmod(len(state), 4 * self._values)
        if rest or not 0 < count <= self._context_length:
            raise EngineError(f"{len(state)} bytes are no state of this model")
        capacity = self._capacity(context)
        data = np.empty(_FIXED + 4 * (capacity + self._width) + len(state), np.uint8)
        struct.pack_into(f"<Q{len(_RNG)}s", data.data, 0, len(_RNG), _RNG)
        struct.pack_into("<QQ", data.data, _BEFORE_LOGITS, capacity, 0)
        at = _BEFORE_LOGITS + 16 + 4 * capacity
        struct.pack_into("<Q", data.data, at, self._width)
        data[at + 8 : at + 8 + 4 * self._width] = 0
        struct.pack_into("<Qi", data.data, at + 8 + 4 * self._width, self._buffer, count)
        data[len(data) - len(state) :] = np.frombuffer(state, np.uint8)
        if self._library.llama_set_state_data(context, data.ctypes.data) != len(data):
            raise EngineError("the library read a state of another length")
        return count
