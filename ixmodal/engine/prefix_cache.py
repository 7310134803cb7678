"""What of a prompt need not be read again: a slot holds it, or reads it now, or a saved state has it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ixmodal.backends.base import Backend
from ixmodal.engine.saved_states import SavedState, SavedStates
from ixmodal.engine.slots import WORTH_KEEPING, Slot, Slots, Tokens, as_tokens, common_prefix
from ixmodal.engine.state_files import Errand, StateFiles
from ixmodal.errors import EngineError

_WORTH_COPYING = 16
"""Tokens from which on a copy from another slot, or a saved state, is preferred to reading them."""
_COPIED_FOR_ONE = 32
"""Tokens that can be copied, at the most careful estimate, in the time in which one is read."""
_WORTH_WAITING = 32
"""Tokens from which on a prompt waits until another, which reads them, has done so."""


class Taken(NamedTuple):
    """A slot for a prompt, and how many of its tokens are in it."""

    slot: Slot
    cached: int


class Awaited(Protocol):
    """What is worth waiting for. It ends by itself, whatever becomes of it."""

    @property
    def over(self) -> bool:
        """True once there is nothing more to wait for."""


class Reading:
    """A prompt that another sequence reads, up to the tokens that are of use."""

    def __init__(self, slot: Slot, count: int) -> None:
        self._slot, self._coming, self._count = slot, slot.coming, count

    @property
    def over(self) -> bool:
        """True once these tokens are read, or the sequence has ended before."""
        return self._slot.coming is not self._coming or len(self._slot.tokens) >= self._count


class PrefixCache:
    """Chooses a slot for each prompt and fills it with what can be had without reading."""

    def __init__(self, backend: Backend, memory: SavedStates, files: StateFiles | None = None) -> None:
        """`files` are None where nothing is to outlive the process."""
        self._backend = backend
        self._memory = memory
        self._files = files
        self._fetching: dict[str, Errand] = {}
        self.slots = Slots(backend.slots)

    def take(self, prompt: Sequence[int], *, reuse: bool = True) -> Taken | Awaited | None:
        """Occupy a slot, or say what is worth waiting for first. None if no slot is free.

        `reuse` false asks for an evaluation from the first token on. Else at least the last token is left to evaluate,
        and the prompt that the slot is going to hold is promised to others.
        """
        tokens = as_tokens(prompt)
        found = self._choose(tokens, len(prompt) - 1 if reuse else 0) if self._backend.can_copy else None
        if found is None:
            taken = self.slots.take(tokens, reuse=reuse)
            found = Taken(*taken) if taken else None
        if isinstance(found, Taken) and reuse:
            found.slot.coming = tokens
        return found

    def release(self, slot: Slot) -> None:
        """Free a slot."""
        self.slots.release(slot)

    def close(self, deadline: float) -> None:
        """Write what the slots hold to disk, those used last first, until `deadline` (of `time.monotonic`)."""
        if self._files is None or not self._backend.can_copy:
            return
        self._files.flush(deadline)
        for slot in sorted(self.slots.all, key=lambda slot: slot.last_used, reverse=True):
            if time.monotonic() > deadline:
                return
            if len(slot.tokens) >= WORTH_KEEPING and not self._files.covers(slot.tokens):
                if saved := self._state_of(slot):
                    self._files.put(saved)
                self._files.flush(deadline)

    def _choose(self, tokens: Tokens, most: int) -> Taken | Awaited | None:
        free = self.slots.free
        if not free:
            return None
        shared = {slot.index: min(common_prefix(slot.tokens, tokens), most) for slot in self.slots.all}
        source = max([*free, *self._busy], key=lambda slot: shared[slot.index])
        saved, restored = self._memory.find(tokens, most)
        reading, coming = self._coming(tokens, most)
        fetched = self._fetch(tokens, most, max(shared[source.index], restored, coming))
        if isinstance(fetched, Errand):
            return fetched
        if fetched:
            saved, restored = fetched, min(common_prefix(fetched.tokens, tokens), most)
        reach = max(shared[source.index], restored)
        if reading and coming >= reach + _WORTH_WAITING:
            return Reading(reading, coming)
        target = self._target(free, source, shared, reach)
        held = shared[target.index]
        self._save(target, held)
        self.slots.occupy(target, held)
        if saved and restored >= max(shared[source.index], held) + _WORTH_COPYING:
            return self._restore(saved, target, restored)
        if self._is_worth_copying(source, shared[source.index], held):
            return self._copy(source, target, shared[source.index])
        return Taken(target, held)

    def _fetch(self, tokens: Tokens, most: int, reach: int) -> Errand | SavedState | None:
        """A state from the disk, if one is there that reaches further, or the errand to wait for."""
        if self._files is None or most < reach + WORTH_KEEPING:
            return None
        if not self._files.scan.over:
            return self._files.scan
        name, count = self._files.find(tokens, most)
        if name is None or count < reach + WORTH_KEEPING:
            return None
        # What a request fetched that was cancelled meanwhile is not kept for ever.
        self._fetching = {n: errand for n, errand in self._fetching.items() if n == name or not errand.expired}
        errand = self._fetching.get(name) or self._files.fetch(name)
        self._fetching[name] = errand
        if not errand.over:
            return errand
        return self._fetching.pop(name).result

    @property
    def _busy(self) -> list[Slot]:
        return [slot for slot in self.slots.all if slot.busy]

    def _coming(self, tokens: Tokens, most: int) -> tuple[Slot | None, int]:
        """The slot into which the longest prefix is being read, and its length when it will be."""
        promised = [(min(common_prefix(slot.coming, tokens), most), slot) for slot in self._busy]
        count, slot = max(promised, key=lambda found: found[0], default=(0, None))
        return slot, count

    def _target(self, free: list[Slot], source: Slot, shared: dict[int, int], reach: int) -> Slot:
        """The free slot to use: one that goes on, or whose loss costs least, or that keeps most of what it holds."""
        going_on = [
            slot for slot in free if shared[slot.index] > reach - _WORTH_COPYING and self._goes_on(slot, shared)
        ]
        if going_on:
            return max(going_on, key=lambda slot: shared[slot.index])
        cheap = next((slot for slot in free if len(slot.tokens) < WORTH_KEEPING or self._is_kept(slot)), None)
        if cheap is not None and cheap is not source:
            return cheap
        keeps_most = not source.busy and shared[source.index] == reach and 2 * reach >= len(source.tokens)
        return source if keeps_most else free[0]

    @staticmethod
    def _goes_on(slot: Slot, shared: dict[int, int]) -> bool:
        return len(slot.tokens) - shared[slot.index] < WORTH_KEEPING

    def _is_kept(self, slot: Slot) -> bool:
        """Whether another slot, or a saved state, has all that a slot holds."""
        held = slot.tokens
        others = (other.tokens for other in self.slots.all if other is not slot)
        return any(tokens[: len(held)] == held for tokens in others) or self._memory.covers(held)

    @staticmethod
    def _is_worth_copying(source: Slot, count: int, held: int) -> bool:
        return count >= held + _WORTH_COPYING and (count - held) * _COPIED_FOR_ONE >= len(source.tokens)

    def _save(self, slot: Slot, count: int) -> None:
        """Save what a slot holds, if all but its first `count` tokens are about to be lost."""
        length = len(slot.tokens)
        if length - count < WORTH_KEEPING or not self._memory.has_room(length) or self._is_kept(slot):
            return
        saved = self._state_of(slot)
        if saved is None:
            return
        self._memory.put(saved)
        if self._files:
            self._files.put(saved)
            self._files.forget_queued(self._memory.all)

    def _state_of(self, slot: Slot) -> SavedState | None:
        try:
            return SavedState(slot.tokens[:], self._backend.save(slot.index, len(slot.tokens)))
        except EngineError:
            return None  # what can't be saved is read again

    def _copy(self, source: Slot, target: Slot, count: int) -> Taken:
        try:
            self._backend.copy(source.index, target.index, count)
        except EngineError:
            count = 0
        target.tokens = source.tokens[:count]
        return Taken(target, count)

    def _restore(self, saved: SavedState, target: Slot, count: int) -> Taken:
        try:
            self._backend.restore(target.index, saved.state)
        except EngineError:
            count = 0
        self._memory.use(saved, count or len(saved.tokens))
        target.tokens = saved.tokens[:count]
        return Taken(target, count)
