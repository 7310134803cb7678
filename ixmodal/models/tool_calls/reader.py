"""Text that arrives in pieces, read by routines that wait wherever it runs out.

A routine is a generator that yields when it needs more text, so that a grammar is written down as if the whole text
were there. What it takes is held until it is known to belong to a call, or goes on at once to a `sink`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeAlias, TypeVar

MAX_CALL_CHARACTERS = 1024 * 1024
"""Longest arguments of a call, and longest text held back."""
SPACE = " \t\n\r"
_SPACES = re.compile(f"[{SPACE}]*")

T = TypeVar("T")
Read: TypeAlias = Generator[None, None, T]
"""A routine: yields to wait for text, returns what it has read."""


class MalformedError(Exception):
    """What follows does not continue a call. What was taken is still held, what follows is still to be read."""


class EndedError(MalformedError):
    """The text ended where a call might have gone on."""


class Reader:
    """The text to come, and the text taken and held."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._ended = False
        self._held: list[str] = []
        self._room = MAX_CALL_CHARACTERS
        self.sink: Callable[[str], None] = self._held.append
        """Where text goes that is taken."""

    def add(self, text: str) -> None:
        """More text has arrived."""
        self._text = self._text[self._at :] + text
        self._at = 0

    def end(self) -> None:
        """No more text will arrive."""
        self._ended = True

    @property
    def ended(self) -> bool:
        """Whether what has arrived is all there will be."""
        return self._ended

    @property
    def available(self) -> int:
        """Characters that have arrived and were not read yet."""
        return len(self._text) - self._at

    def find(self, pattern: re.Pattern[str]) -> tuple[int, str] | None:
        """The first match in what has arrived: how far away it is, and its text."""
        match = pattern.search(self._text, self._at)
        return (match.start() - self._at, match[0]) if match else None

    def look(self, start: int, end: int) -> str:
        """A slice of what has arrived, counted from here."""
        return self._text[self._at + start : self._at + end]

    def skip(self, count: int) -> str:
        """Pass over text, without holding it, and return it."""
        self._at += count
        return self._text[self._at - count : self._at]

    def peek(self) -> Read[str]:
        """The next character, not taken. Raises `EndedError` where there is none."""
        while self._at == len(self._text):
            if self._ended:
                raise EndedError
            yield
        return self._text[self._at]

    def is_next(self, literal: str) -> Read[bool]:
        """Whether `literal` comes next. Raises `EndedError` where the text ends within it."""
        while True:
            ahead = self._text[self._at : self._at + len(literal)]
            if ahead == literal or not literal.startswith(ahead):
                return ahead == literal
            if self._ended:
                raise EndedError
            yield

    def peek_run(self, pattern: re.Pattern[str], limit: int) -> Read[str]:
        """What `pattern`, a repetition of a class of characters, matches: up to something else, nothing taken.

        Raises `MalformedError` where that is over `limit` characters, `EndedError` where the text ends first.
        """
        while True:
            match = pattern.match(self._text, self._at)
            end = match.end() if match else self._at
            if end - self._at > limit:
                raise MalformedError
            if end < len(self._text):
                return self._text[self._at : end]
            if self._ended:
                raise EndedError
            yield

    def take(self, count: int = 1) -> None:
        """Take what is next and was seen. Raises `MalformedError` where a call grows too long."""
        fits = min(count, self._room)
        if fits:
            self.sink(self._text[self._at : self._at + fits])
            self._at += fits
            self._room -= fits
        if fits < count:
            raise MalformedError

    def take_literal(self, literal: str) -> Read[None]:
        """Take exactly this, or raise `MalformedError` and take nothing."""
        if not (yield from self.is_next(literal)):
            raise MalformedError
        self.take(len(literal))

    def take_run(self, pattern: re.Pattern[str]) -> Read[None]:
        """Take everything that `pattern`, a repetition of a class of characters, matches. Waits for its end."""
        while True:
            yield from self.peek()
            match = pattern.match(self._text, self._at)
            if match is None or match.end() == self._at:
                return
            self.take(match.end() - self._at)

    def take_spaces(self) -> Read[None]:
        """Take JSON's white space, up to something else."""
        yield from self.take_run(_SPACES)

    def hold(self) -> None:
        """Hold what is taken from here on."""
        self.sink = self._held.append

    def mark(self) -> int:
        """A place to name in `text_since`."""
        return len(self._held)

    def text_since(self, mark: int) -> str:
        """What was taken and held since `mark`."""
        return "".join(self._held[mark:])

    def release(self) -> str:
        """Give up what was held, and return it."""
        text = "".join(self._held)
        self._held.clear()
        self._room = MAX_CALL_CHARACTERS
        return text

    def restore(self) -> None:
        """Put back what was held, to be read again."""
        self._text = self.release() + self._text[self._at :]
        self._at = 0
