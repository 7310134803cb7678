"""Turn events become a response's items and the events of its stream, in exact order."""

from __future__ import annotations

import time
from typing import Any, TypeVar

from ixmodal.server.json import dumps
from ixmodal.server.protocol.responses.answers import Response, error_of, usage_of
from ixmodal.server.responses.parts import Call, Message, Part, Reasoning
from ixmodal.server.turns import ReasoningDelta, TextDelta, ToolCallDelta, TurnEnd, TurnEvent

AnyPart = TypeVar("AnyPart", bound=Part)


def frame(event: dict[str, Any]) -> bytes:
    """An event as it is sent, its type on a line of its own too."""
    name, data = event["type"], dumps(event)
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


class Assembler:
    """Builds `response`, and the log of its events in `frames`; an event's sequence number is its place there."""

    def __init__(self, response: Response, frames: list[bytes] | None = None) -> None:
        self.response = response
        self.frames = frames if frames is not None else []
        self._part: Part | None = None

    def open(self) -> None:
        """The response exists: created, and queued if it waits in the background."""
        self._tell("created")
        if self.response["status"] == "queued":
            self._tell("queued")

    def begin(self) -> None:
        """The prompt was accepted."""
        self.response["status"] = "in_progress"
        self._tell("in_progress")

    def add(self, event: TurnEvent) -> None:
        """Take the next event of the turn; after the last one the response is completed or incomplete."""
        match event:
            case TextDelta():
                message = self._message()
                self._emit(message.add(event.text, event.logprobs))
            case ReasoningDelta() if event.text:
                self._emit(self._reasoning().add(event.text))
            case ToolCallDelta():
                self._emit(self._call(event).add(event.arguments))
            case TurnEnd():
                self._end(event)

    def fail(self, error: Exception) -> None:
        """The turn failed: what was made of it stays, as incomplete."""
        self.response["error"], envelope = error_of(error)
        self._close("incomplete")
        self.response |= {"status": "failed", "completed_at": None, "incomplete_details": None}
        flat = {name: envelope[name] for name in ("code", "message", "param")}
        self._emit([{"type": "error", **flat, "error": envelope}])
        self._tell("failed")

    def cancel(self) -> None:
        """The turn was cancelled. No event is made for that: the stream ends as incomplete, its status tells."""
        self._close("incomplete")
        self.response["status"] = "cancelled"
        self._tell("incomplete")

    def _end(self, event: TurnEnd) -> None:
        cut = event.reason == "length"
        if self._part is None and not self.response["output"]:
            self._message()
        self._close("incomplete" if cut else "completed")
        self.response["usage"] = usage_of(event.usage)
        if cut:
            self.response |= {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
        else:
            self.response |= {"status": "completed", "completed_at": int(time.time())}
        self._tell(self.response["status"])

    def _message(self) -> Message:
        return self._part if isinstance(self._part, Message) else self._start(Message(self._next()))

    def _reasoning(self) -> Reasoning:
        return self._part if isinstance(self._part, Reasoning) else self._start(Reasoning(self._next()))

    def _call(self, event: ToolCallDelta) -> Call:
        if event.id is not None and event.name is not None:
            return self._start(Call(self._next(), event.index, event.id, event.name))
        if isinstance(self._part, Call) and self._part.number == event.index:
            return self._part
        raise RuntimeError(f"arguments for tool call {event.index}, which is not open")

    def _next(self) -> int:
        """The index of a new part; the one before it is whole."""
        self._close("completed")
        return len(self.response["output"])

    def _start(self, part: AnyPart) -> AnyPart:
        self._part = part
        self._emit(part.open())
        return part

    def _close(self, status: str) -> None:
        if self._part is not None:
            self._emit(self._part.close(status))
            self.response["output"].append(self._part.item)
            self._part = None

    def _tell(self, word: str) -> None:
        self._emit([{"type": f"response.{word}", "response": self.response}])

    def _emit(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            self.frames.append(frame({**event, "sequence_number": len(self.frames)}))
