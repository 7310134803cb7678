"""Reads the chunks of an upstream's chat completion as the events of a turn."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from ixmodal.engine.request import TokenLogprob, Usage
from ixmodal.errors import UpstreamError
from ixmodal.server.turn_events import ReasoningDelta, TextDelta, ToolCallDelta, TurnEnd, TurnEvent, TurnReason
from ixmodal.server.upstream.usage import usage_of_wire

_REASONS: dict[str, TurnReason] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}
_UNKNOWN_TOKEN = -1


class ChatStreamReader:
    """Takes chunks, gives events; the last chunk's reason and usage are those of the end."""

    def __init__(self, name: str) -> None:
        """Read the stream of the upstream of the model `name`."""
        self._name = name
        self._reason: str | None = None
        self.usage = Usage()
        self._calls: set[int] = set()

    def read(self, chunk: Any) -> Iterator[TurnEvent]:
        """The events of a chunk. Raises `UpstreamError` for an error, or for what is no chunk."""
        try:
            yield from self._read(chunk)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise self._failed(f"sent a chunk that can't be read ({type(error).__name__}: {error})") from None

    def end(self) -> TurnEnd:
        """The end of the turn. Raises `UpstreamError` if the stream did not say why it ended."""
        if self._reason is None:
            raise self._failed("ended its stream before it was done")
        reason = _REASONS.get(self._reason)
        if reason is None:
            raise self._failed(f"ended its answer for the reason {self._reason:.40}")
        return TurnEnd("tool_calls" if self._calls and reason == "stop" else reason, self.usage)

    def _read(self, chunk: Any) -> Iterator[TurnEvent]:
        if error := chunk.get("error"):
            raise self._failed(f"broke off its answer: {error.get('message') if isinstance(error, dict) else error}")
        if usage := chunk.get("usage"):
            self.usage = usage_of_wire(usage)
        for choice in chunk.get("choices") or ():
            self._reason = choice.get("finish_reason") or self._reason
            yield from self._read_delta(choice.get("delta") or {}, choice.get("logprobs"))

    def _read_delta(self, delta: dict[str, Any], logprobs: dict[str, Any] | None) -> Iterator[TurnEvent]:
        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
            yield ReasoningDelta(str(thought))
        entries = tuple(_entry(item) for item in (logprobs or {}).get("content") or ())
        text = str(delta.get("content") or delta.get("refusal") or "")
        if text or entries:
            yield TextDelta(text, entries)
        for call in delta.get("tool_calls") or ():
            yield from self._read_call(call)

    def _read_call(self, call: dict[str, Any]) -> Iterator[TurnEvent]:
        index, function = int(call.get("index") or 0), call.get("function") or {}
        if index not in self._calls:
            self._calls.add(index)
            id = call.get("id") or f"call_{uuid.uuid4().hex[:24]}"
            yield ToolCallDelta(index, id=str(id), name=str(function["name"]))
        if arguments := function.get("arguments"):
            yield ToolCallDelta(index, str(arguments))

    def _failed(self, what: str) -> UpstreamError:
        return UpstreamError(f"The upstream of {self._name} {what}.")


def _entry(item: dict[str, Any]) -> TokenLogprob:
    """A token's log-probability. Its id is not told, and nobody is told it in turn."""
    piece = item.get("bytes")
    top = tuple(_entry(other) for other in item.get("top_logprobs") or ())
    return TokenLogprob(
        _UNKNOWN_TOKEN, bytes(piece) if piece is not None else str(item["token"]).encode(), float(item["logprob"]), top
    )
