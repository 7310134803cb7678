"""Prompts on their way to a slot: most get one at once, some wait for what another is about to read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ixmodal.engine.prefix_cache import Awaited, PrefixCache, Taken
from ixmodal.errors import EngineError


@dataclass
class Placement:
    """A prompt that needs a slot, and what is done once it has one."""

    id: int
    prompt: list[int]
    reuse: bool
    begin: Callable[[Taken], None]
    awaited: Awaited | None = None


class Waiting:
    """Those that wait, in the order in which they came: each waits for one before it, so that all come to their turn.

    The server sends no more than there are slots; one of those that are free is meant for each that waits.
    """

    def __init__(self, cache: PrefixCache) -> None:
        self._cache = cache
        self._placements: list[Placement] = []

    def __len__(self) -> int:
        return len(self._placements)

    def place(self, placement: Placement) -> None:
        """Begin with a slot, or let it wait. Raises `EngineError` if no slot is left for it."""
        if len(self._cache.slots.free) <= len(self._placements):
            raise EngineError("no slot is free; the server sent more than it may")
        if not self._begun(placement):
            self._placements.append(placement)

    def resume(self) -> None:
        """Begin those whose wait is over."""
        for placement in [waiting for waiting in self._placements if waiting.awaited and waiting.awaited.over]:
            if self._begun(placement):
                self._placements.remove(placement)

    def cancel(self, id: int) -> bool:
        """Drop one that waits. False if none has this number."""
        left = [placement for placement in self._placements if placement.id != id]
        found = len(left) < len(self._placements)
        self._placements = left
        return found

    def _begun(self, placement: Placement) -> bool:
        found = self._cache.take(placement.prompt, reuse=placement.reuse)
        if isinstance(found, Taken):
            placement.begin(found)
            return True
        placement.awaited = found
        return False
