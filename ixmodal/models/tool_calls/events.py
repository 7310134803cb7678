"""What a parser finds in an answer, piece by piece."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Content:
    """Text that is no part of a call."""

    text: str


@dataclass(frozen=True)
class CallStarted:
    """A call of one of the tools; its arguments follow."""

    index: int
    name: str


@dataclass(frozen=True)
class CallArguments:
    """The next piece of a call's arguments. Joined they are one JSON object, as the model wrote it."""

    index: int
    delta: str


@dataclass(frozen=True)
class CallEnded:
    """The arguments are complete. A call that never ends was cut off, or its arguments stopped being JSON."""

    index: int


ParsedEvent = Content | CallStarted | CallArguments | CallEnded


class EventLog:
    """Collects events, neighbouring pieces of text merged."""

    def __init__(self) -> None:
        self.calls = 0
        """Calls started so far."""
        self.after_call = False
        """Whether nothing came since a call ended."""
        self._events: list[ParsedEvent] = []
        self._parts: list[str] = []
        self._index: int | None = None

    def add_content(self, text: str) -> None:
        """Text outside of calls."""
        if text:
            self.after_call = False
            self._add(None, text)

    def start_call(self, name: str) -> None:
        """The next call; what `add_arguments` and `end_call` say is about it."""
        self._merge()
        self._events.append(CallStarted(self.calls, name))
        self.calls += 1
        self.after_call = False

    def add_arguments(self, text: str) -> None:
        """Text of the last call's arguments."""
        self._add(self.calls - 1, text)

    def end_call(self) -> None:
        """The last call is complete."""
        self._merge()
        self._events.append(CallEnded(self.calls - 1))
        self.after_call = True

    def take(self) -> list[ParsedEvent]:
        """What came since the last time."""
        self._merge()
        events, self._events = self._events, []
        return events

    def _add(self, index: int | None, text: str) -> None:
        if index != self._index:
            self._merge()
            self._index = index
        self._parts.append(text)

    def _merge(self) -> None:
        if text := "".join(self._parts):
            self._events.append(Content(text) if self._index is None else CallArguments(self._index, text))
        self._parts.clear()
