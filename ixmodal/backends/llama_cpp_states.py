"""Sequences' keys and values as bytes, by llama.cpp's `llama_state_seq_*`.

Copies between slots go this way too: `llama_memory_seq_cp` copies whole streams, and only with the next decode, until
when neither of both may be touched; of a part of a stream it aborts the process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np

from ixmodal.backends.base import State
from ixmodal.errors import EngineError


class CopiedSequences:
    """The part of a backend that copies, saves and restores. `_held` counts each sequence's tokens."""

    can_copy: bool
    slots: int
    _library: Any
    _context: Any
    _memory: Any
    _held: list[int]
    _rows: dict[int, range]

    def copy(self, source: int, target: int, count: int) -> None:
        """By way of a state. Raises `EngineError` for what is not held, or if the library fails."""
        self._check_holds(source, count)
        self._check_holds(target, 0)
        if source == target:
            raise EngineError("a slot can't be copied to itself")
        self._put(target, self._state(source))
        self._cut(target, count)

    def save(self, slot: int, count: int) -> State:
        """A slot's first tokens as bytes; those behind them are dropped. Raises `EngineError` as `copy`."""
        self._check_holds(slot, count)
        self._cut(slot, count)
        return self._state(slot)

    def restore(self, slot: int, state: State) -> None:
        """Put a saved state in a slot. Raises `EngineError` if the library refuses it."""
        self._check_holds(slot, 0)
        self._put(slot, state)

    def _state(self, slot: int) -> memoryview:
        size = self._library.llama_state_seq_get_size(self._context, slot)
        state = np.empty(size, np.uint8)
        written = self._library.llama_state_seq_get_data(self._context, _pointer(state), size, slot) if size else 0
        if not size or written != size:
            raise EngineError(f"the library saved {written} of {size} bytes of a slot")
        return state.data

    def _put(self, slot: int, state: State) -> None:
        self._rows.pop(slot, None)
        self._forget([slot])
        data = np.frombuffer(state, np.uint8)
        size = len(data)
        if not size or self._library.llama_state_seq_set_data(self._context, _pointer(data), size, slot) != size:
            self._forget([slot])
            raise EngineError("the library refused the saved state of a slot")
        self._held[slot] = self._library.llama_memory_seq_pos_max(self._memory, slot) + 1

    def _cut(self, slot: int, count: int) -> None:
        """Drop what a slot holds behind its first `count` tokens."""
        if not self._library.llama_memory_seq_rm(self._memory, slot, count, -1):
            self._forget([slot])
            raise EngineError("the model's cache can't be cut; send the whole prompt again")
        self._held[slot] = count

    def _check_holds(self, slot: int, count: int) -> None:
        if not self._context or not self.can_copy:
            raise EngineError("the model is closed, or its slots can't be copied")
        if not 0 <= slot < self.slots or not 0 <= count <= self._held[slot]:
            raise EngineError(f"{count} tokens are said to be cached in slot {slot}, which holds fewer")

    def _forget(self, slots: Iterable[int]) -> None:
        for slot in slots:
            self._library.llama_memory_seq_rm(self._memory, slot, -1, -1)
            self._held[slot] = 0


def _pointer(data: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> Any:
    return data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
