"""Parses an answer as it arrives into content and calls."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ixmodal.models.tool_calls.calls import CallReader
from ixmodal.models.tool_calls.events import EventLog, ParsedEvent
from ixmodal.models.tool_calls.frames import Frame
from ixmodal.models.tool_calls.reader import SPACE, EndedError, MalformedError, Read, Reader

_MAX_SPACE = 256
"""White space held back at most, in case a call follows."""


class ToolCallParser:
    """One answer. Events come as soon as they are certain, and are the same however the text is cut.

    White space beside calls belongs to neither. What begins like a call and is none becomes content as it was written.
    A call whose arguments stop being JSON, or grow beyond `MAX_CALL_CHARACTERS`, is left without a `CallEnded`, and
    the text from there on is content.
    """

    def __init__(self, frame: Frame, names: Iterable[str], *, exact: bool = False) -> None:
        """`exact`: take what has no marker for a call only if it begins in the one form that a grammar can know."""
        self._frame = frame
        self._markers = re.compile("|".join(map(re.escape, frame.markers)))
        self._text = Reader()
        self._log = EventLog()
        self._calls = CallReader(self._text, self._log, frozenset(names), exact=exact)
        self._routine = self._run()
        next(self._routine)

    def push(self, text: str) -> list[ParsedEvent]:
        """More of the answer."""
        if text:
            self._text.add(text)
            next(self._routine)
        return self._log.take()

    def flush(self) -> list[ParsedEvent]:
        """The answer has ended. What was held back comes out; nothing may be pushed afterwards."""
        self._text.end()
        next(self._routine, None)
        return self._log.take()

    def _run(self) -> Read[None]:
        if self._frame.take_bare and (yield from self._begins_with_brace()):
            yield from self._take_calls(self._frame.take_bare(self._calls))
        while (yield from self._take_content()):
            yield from self._take_calls(self._frame.take(self._calls))

    def _begins_with_brace(self) -> Read[bool]:
        try:
            yield from self._text.take_spaces()
            if (yield from self._text.peek()) == "{":
                return True
        except MalformedError:
            pass
        self._text.restore()
        return False

    def _take_calls(self, routine: Read[None]) -> Read[None]:
        self._calls.complete = False
        try:
            yield from routine
        except EndedError:
            rest = self._text.release() + self._text.skip(self._text.available)
            self._log.add_content("" if self._calls.complete else rest)
        except MalformedError:
            if self._calls.complete:
                self._text.restore()
            else:
                self._log.add_content(self._text.release())

    def _take_content(self) -> Read[bool]:
        """Pass on content up to a marker, and take that. False where the text ended first."""
        while (found := self._text.find(self._markers)) is None:
            if self._text.ended:
                rest = self._text.skip(self._text.available)
                self._log.add_content("" if self._log.after_call and not rest.strip(SPACE) else rest)
                return False
            self._log.add_content(self._text.skip(self._end_of_content(self._end_without_marker())))
            yield
        distance, marker = found
        self._log.add_content(self._text.skip(self._end_of_content(distance)))
        spaces = self._text.find(self._markers)
        self._text.take((spaces[0] if spaces else 0) + len(marker))
        return True

    def _end_without_marker(self) -> int:
        """Where what has arrived could begin a marker at the latest."""
        available = self._text.available
        for length in range(min(available, max(map(len, self._frame.markers)) - 1), 0, -1):
            tail = self._text.look(available - length, available)
            if any(marker.startswith(tail) for marker in self._frame.markers):
                return available - length
        return available

    def _end_of_content(self, end: int) -> int:
        """Where the white space before `end` begins."""
        run = self._text.look(max(0, end - _MAX_SPACE), end)
        return end - len(run) + len(run.rstrip(SPACE))
