"""Slots: native contexts, and the tokens whose keys and values each still holds."""

from __future__ import annotations

from collections.abc import Sequence

_WORTH_REUSING = 0.1
"""Share of a prompt below which a match (a BOS, a template's first words) is no reason to overwrite a fuller slot."""


class Slot:
    """One context. `tokens` are those that its cache holds, in order."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.tokens: list[int] = []
        self.busy = False
        self.last_used = 0


class Slots:
    """All contexts of a model."""

    def __init__(self, count: int) -> None:
        self._slots = [Slot(index) for index in range(count)]
        self._clock = 0

    def take(self, prompt: Sequence[int], *, reuse: bool = True) -> tuple[Slot, int] | None:
        """Occupy the free slot that can reuse most of `prompt`, among equals the one unused longest.

        `reuse` false asks for an evaluation from the first token on.

        Returns the slot and the tokens reused (always fewer than the prompt's, so that its last one is evaluated and
        yields logits), or None if no slot is free.
        """
        free = [slot for slot in self._slots if not slot.busy]
        if not free:
            return None
        most = len(prompt) - 1 if reuse else 0
        shared = {slot.index: min(common_prefix(slot.tokens, prompt), most) for slot in free}
        worth = {i: n if n >= _WORTH_REUSING * len(prompt) else 0 for i, n in shared.items()}
        slot = max(free, key=lambda slot: (worth[slot.index], -slot.last_used))
        slot.busy = True
        del slot.tokens[shared[slot.index] :]
        return slot, shared[slot.index]

    def release(self, slot: Slot) -> None:
        """Free a slot; what it holds stays for the next prompt that begins so."""
        self._clock += 1
        slot.busy, slot.last_used = False, self._clock


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    length = min(len(left), len(right))
    if left[:length] == right[:length]:
        return length
    return next(index for index in range(length) if left[index] != right[index])
