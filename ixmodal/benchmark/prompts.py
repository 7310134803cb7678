"""Words for prompts of which no two begin alike, so that no cache helps where none is meant to."""

from __future__ import annotations

import random

_WORDS = "the of and to in is you that it he was for on are with as his they at be this have from or one had by word"
WORDS = tuple(_WORDS.split())
"""Common ones, which most vocabularies hold as one token each."""


class Prompts:
    """Draws texts of a given number of words; the same seed draws the same ones."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def system(self, words: int) -> str:
        """The one system prompt of this seed."""
        return self._text(words, "system")

    def user(self, words: int, conversation: int, turn: int) -> str:
        """A turn's text, which begins differently in each conversation and turn."""
        return self._text(words, f"{conversation}/{turn}")

    def _text(self, words: int, name: str) -> str:
        return " ".join(random.Random(f"{self._seed}/{name}").choices(WORDS, k=words))
