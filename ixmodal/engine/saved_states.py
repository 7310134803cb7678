"""What slots held before they were given to other prompts, in this process's memory, within a bound of bytes."""

from __future__ import annotations

from typing import NamedTuple

from ixmodal.backends.base import State
from ixmodal.engine.slots import Tokens, common_prefix


class SavedState(NamedTuple):
    """Tokens, and their keys and values as the library gave them."""

    tokens: Tokens
    state: State

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.state) + self.tokens.itemsize * len(self.tokens)


class SavedStates:
    """States in the order of their use; the one unused longest makes room."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._states: list[SavedState] = []
        self._bytes_per_token = 0.0

    @property
    def all(self) -> list[SavedState]:
        """Every state, the one unused longest first."""
        return list(self._states)

    @property
    def size(self) -> int:
        """Bytes that all take."""
        return sum(saved.size for saved in self._states)

    def has_room(self, count: int) -> bool:
        """Whether a state of `count` tokens can be expected to fit, after all that have been seen."""
        return 0 < self._max_bytes >= self._bytes_per_token * count

    def find(self, prompt: Tokens, most: int) -> tuple[SavedState | None, int]:
        """The state that shares the longest prefix with a prompt, and how long that is: `most` tokens at most."""
        best, shared = None, 0
        for saved in self._states:
            if (count := min(common_prefix(saved.tokens, prompt), most)) > shared:
                best, shared = saved, count
        return best, shared

    def covers(self, tokens: Tokens) -> bool:
        """Whether a state begins with all of these."""
        return any(saved.tokens[: len(tokens)] == tokens for saved in self._states)

    def put(self, saved: SavedState) -> None:
        """Keep a state, in place of those whose tokens it begins with; one beyond the bound is not kept."""
        self._bytes_per_token = saved.size / max(1, len(saved.tokens))
        if saved.size > self._max_bytes:
            return
        self._states = [old for old in self._states if saved.tokens[: len(old.tokens)] != old.tokens]
        self._states.append(saved)
        while self.size > self._max_bytes:
            self._states.pop(0)

    def use(self, saved: SavedState, count: int) -> None:
        """Note that a slot has the first `count` tokens of a state now; one that it has whole need not be kept."""
        others = [other for other in self._states if other is not saved]
        is_there = len(others) < len(self._states)
        self._states = [*others, saved] if is_there and count < len(saved.tokens) else others
