"""Reads what a model writes: its thoughts, its answer, its tool calls."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator

from ixmodal.engine.request import Output, TokenLogprob
from ixmodal.models.reasoning import Reasoning, ReasoningParser
from ixmodal.models.tool_calls import CallArguments, CallEnded, CallStarted, Content, ParsedEvent, ToolCallParser
from ixmodal.server.turn_events import ReasoningDelta, TextDelta, ToolCallDelta, TurnEvent


class TurnReader:
    """Turns outputs into events: first thoughts are taken out, then calls out of the rest."""

    def __init__(self, *, thinks: bool, calls: ToolCallParser | None) -> None:
        self._thoughts = ReasoningParser(starts_inside=False) if thinks else None
        self._calls = calls
        self._is_plain = not thinks and calls is None
        self._open = 0
        self._ended = 0
        self._logprobs: tuple[TokenLogprob, ...] = ()

    @property
    def has_called(self) -> bool:
        """True once at least one call is complete and none is half-way."""
        return self._ended > 0 and self._ended == self._open

    def begin(self, *, inside: bool) -> None:
        """The prompt was accepted; `inside`: it ends with an open thought."""
        if self._thoughts is not None:
            self._thoughts = ReasoningParser(starts_inside=inside)

    def read(self, output: Output) -> Iterable[TurnEvent]:
        """The events of the next output. Log-probabilities go with the text that they belong to, or before it."""
        if self._is_plain and not output.logprobs:
            return [TextDelta(output.text)] if output.text else []
        return self._read(output)

    def _read(self, output: Output) -> Iterator[TurnEvent]:
        # The end of a turn has a log-probability but adds nothing to the text: chat does not show it.
        self._logprobs += tuple(entry for entry in output.logprobs if entry.piece)
        ended = output.finish_reason is not None
        for event in self._parse(output.text, ended=ended):
            yield from self._show(event)
        if ended and self._logprobs and self._calls is None:
            yield TextDelta("", self._take_logprobs())

    def _parse(self, text: str, *, ended: bool) -> Iterable[ParsedEvent | Reasoning]:
        if self._thoughts is None:
            yield from self._parse_calls(text)
        else:
            for part in self._thoughts.push(text) + (self._thoughts.flush() if ended else []):
                yield from [part] if isinstance(part, Reasoning) else self._parse_calls(part.text)
        if ended and self._calls is not None:
            yield from self._calls.flush()

    def _parse_calls(self, text: str) -> Iterable[ParsedEvent]:
        if self._calls is not None:
            return self._calls.push(text)
        return [Content(text)] if text else []

    def _show(self, event: ParsedEvent | Reasoning) -> Iterator[TurnEvent]:
        match event:
            case Content(text):
                yield TextDelta(text, self._take_logprobs())
            case Reasoning(text):
                yield ReasoningDelta(text)
            case CallStarted(index, name):
                self._open += 1
                yield ToolCallDelta(index, id=f"call_{uuid.uuid4().hex[:24]}", name=name)
            case CallArguments(index, delta):
                yield ToolCallDelta(index, delta)
            case CallEnded():
                self._ended += 1

    def _take_logprobs(self) -> tuple[TokenLogprob, ...]:
        taken, self._logprobs = self._logprobs, ()
        return taken
