"""Slots: native contexts, and the tokens whose keys and values each still holds."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Tokens: TypeAlias = "array[int]"
"""Token ids as 32-bit integers: stretches of them are compared as memory is, fifty times as fast as lists."""
_WORTH_REUSING = 0.1
"""Share of a prompt below which a match (a BOS, a template's first words) is no reason to overwrite a fuller slot."""
WORTH_KEEPING = 64
"""Tokens from which on what a slot holds is kept in preference to a slot unused longer, or saved: milliseconds."""


class Slot:
    """One context. `tokens` are those that its cache holds, in order."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.tokens: Tokens = array("i")
        self.coming: Tokens = array("i")
        """The prompt that is being read into it, as far as others may count on it."""
        self.busy = False
        self.last_used = 0


class Slots:
    """All contexts of a model."""

    def __init__(self, count: int) -> None:
        self.all = [Slot(index) for index in range(count)]
        self._clock = 0

    @property
    def free(self) -> list[Slot]:
        """Those that no sequence has, the one unused longest first."""
        return sorted((slot for slot in self.all if not slot.busy), key=lambda slot: slot.last_used)

    def take(self, prompt: Sequence[int], *, reuse: bool = True) -> tuple[Slot, int] | None:
        """Occupy the free slot that can reuse most of `prompt`, among equals the one unused longest.

        `reuse` false asks for an evaluation from the first token on.

        Returns the slot and the tokens reused (always fewer than the prompt's, so that its last one is evaluated and
        yields logits), or None if no slot is free.
        """
        free = self.free
        if not free:
            return None
        tokens, most = as_tokens(prompt), len(prompt) - 1 if reuse else 0
        shared = {slot.index: min(common_prefix(slot.tokens, tokens), most) for slot in free}
        slot = max(free, key=lambda slot: shared[slot.index] if is_worthwhile(shared[slot.index], len(prompt)) else 0)
        self.occupy(slot, shared[slot.index])
        return slot, shared[slot.index]

    def occupy(self, slot: Slot, count: int) -> None:
        """Give a slot to a sequence, with the first `count` of its tokens."""
        slot.busy = True
        del slot.tokens[count:]

    def release(self, slot: Slot) -> None:
        """Free a slot; what it holds stays for the next prompt that begins so."""
        self._clock += 1
        slot.busy, slot.last_used, slot.coming = False, self._clock, array("i")


def is_worthwhile(shared: int, length: int) -> bool:
    """Whether so many tokens in common are reason enough to choose a slot for a prompt of `length`."""
    return shared >= _WORTH_REUSING * length


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    low, high = 0, min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    while high - low > 1:  # equal before `low`, different before `high`
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low


def as_tokens(ids: Iterable[int]) -> Tokens:
    """Token ids in the form in which they are compared."""
    return array("i", ids)
