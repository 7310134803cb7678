"""Prompt lookup: what followed the last words the last time is drafted, and checked in one forward.

https://github.com/apoorvumang/prompt-lookup-decoding. The model decides on every drafted token itself: a draft changes
how many tokens a forward yields, never which.
"""

from __future__ import annotations

from collections.abc import Sequence

_LENGTHS = (3, 2)
"""Tokens by which a place is found again, longer ones first."""
_WORTH = 0.5
"""Share of drafted tokens that must have been right of late: below, checking them costs more than it saves."""
_MEMORY = 0.8
"""Weight of earlier drafts in that share, against the latest."""
_PAUSE = 16
"""Tokens without drafts after they were wrong too often; doubled each time, up to `_LONGEST_PAUSE`."""
_LONGEST_PAUSE = 512


class PromptLookup:
    """Drafts the tokens that come next in one generation, at most `length` at a time."""

    def __init__(self, prompt: Sequence[int], length: int) -> None:
        self._tokens: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}
        self._length = length
        self._share = 1.0
        self._pause, self._waits = _PAUSE, 0
        self.extend(prompt)

    def extend(self, tokens: Sequence[int]) -> None:
        """Note what came next."""
        for token in tokens:
            end = len(self._tokens)
            for length in _LENGTHS:
                if end >= length:
                    self._places[tuple(self._tokens[end - length :])] = end
            self._tokens.append(token)
        self._waits = max(0, self._waits - len(tokens))

    def draft(self, limit: int) -> list[int]:
        """Tokens that may come next, at most `limit`: none where nothing is found, or drafts were wrong of late."""
        if self._waits:
            return []
        for length in _LENGTHS:
            place = self._places.get(tuple(self._tokens[-length:]))
            if place is not None:
                return self._tokens[place : place + min(limit, self._length)]
        return []

    def judge(self, drafted: int, right: int) -> None:
        """Learn how many of the last draft's tokens were right."""
        self._share = _MEMORY * self._share + (1 - _MEMORY) * right / drafted
        if self._share >= _WORTH:
            self._pause = _PAUSE if right == drafted else self._pause
            return
        self._waits, self._share = self._pause, _WORTH  # one more wrong draft after the pause, and it waits again
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
