"""What came of a model's turns: of each what it said and called, and of all what the client sees."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

from ixmodal.engine.request import Usage
from ixmodal.server.turns import ReasoningDelta, TextDelta, ToolCallDelta, TurnEnd, TurnEvent, TurnReason, TurnStarted


@dataclass
class Call:
    """A tool call; `arguments` grows."""

    id: str
    name: str
    arguments: str = ""


class Step:
    """One turn of the model. The first has the number 0, the last may call no more; one without end has met a limit."""

    def __init__(self, number: int, *, is_last: bool) -> None:
        self.number = number
        self.is_last = is_last
        self.has_begun = False
        self.reason: TurnReason = "length"
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, Call] = {}

    @property
    def calls(self) -> list[Call]:
        """The calls it made, in their order."""
        return list(self._calls.values())

    def call_at(self, index: int) -> Call:
        """The call that events of this index are about."""
        return self._calls[index]

    def add(self, event: TurnEvent) -> None:
        """Take the next event."""
        self.has_begun = True
        if isinstance(event, TextDelta):
            self._text.append(event.text)
        elif isinstance(event, ReasoningDelta):
            self._reasoning.append(event.text)
        elif isinstance(event, ToolCallDelta):
            fresh = Call(event.id or f"call_{event.index}", event.name or "")
            self._calls.setdefault(event.index, fresh).arguments += event.arguments
        elif isinstance(event, TurnEnd):
            self.reason = event.reason

    def message(self) -> dict[str, Any]:
        """The assistant's message, as it goes into the conversation."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._text)}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in self._calls.values()
        ]
        return message


class Reply:
    """All turns as the one that the client sees.

    Calls of the server's tools are left out, those of the client's are counted from 0. Between the texts of two turns
    stands an empty line.
    """

    def __init__(self, client_tools: AbstractSet[str]) -> None:
        """`client_tools` are the names whose calls are shown."""
        self.steps = 0
        """Steps that ended so far."""
        self.usage = Usage()
        self._client_tools = client_tools
        self._started = False
        self._indices: dict[str, int] = {}
        self._last: dict[type[TextDelta | ReasoningDelta], tuple[str, Step]] = {}

    def show(self, event: TurnEvent, step: Step) -> TurnEvent | None:
        """What the client sees of an event that `step` has taken already."""
        if isinstance(event, TextDelta | ReasoningDelta):
            return self._apart(event, step)
        if isinstance(event, ToolCallDelta):
            return self._numbered(event, step.call_at(event.index))
        if isinstance(event, TurnEnd):
            self.steps += 1
            self._count(event.usage)
            return None
        return self._first(event)

    def _first(self, event: TurnStarted) -> TurnStarted | None:
        is_first, self._started = not self._started, True
        return event if is_first else None

    def _apart(self, event: TextDelta | ReasoningDelta, step: Step) -> TurnEvent:
        if not event.text:
            return event
        before, said_in = self._last.get(type(event), ("\n", step))
        self._last[type(event)] = (event.text[-1], step)
        if said_in is step or before.isspace() or event.text[0].isspace():
            return event
        return replace(event, text=f"\n\n{event.text}")

    def _numbered(self, event: ToolCallDelta, call: Call) -> ToolCallDelta | None:
        if call.name not in self._client_tools:
            return None
        return replace(event, index=self._indices.setdefault(call.id, len(self._indices)))

    def _count(self, usage: Usage) -> None:
        self.usage = Usage(
            self.usage.prompt_tokens + usage.prompt_tokens,
            self.usage.completion_tokens + usage.completion_tokens,
            self.usage.cached_tokens + usage.cached_tokens,
            max(self.usage.dropped_messages, usage.dropped_messages),
            self.usage.reasoning_tokens + usage.reasoning_tokens,
        )
