"""The shapes of chat answers, whole and in chunks."""

from __future__ import annotations

from typing import Any

from ixmodal.engine.request import TokenLogprob, Usage
from ixmodal.server.turns import ReasoningDelta, TextDelta, ToolCallDelta, TurnEnd, TurnEvent, TurnReason

LEAST_LOGPROB = -9999.0
"""What the API says for a probability of zero: JSON knows no infinity."""


def usage_of(usages: list[Usage], prompts: int = 1) -> dict[str, Any]:
    """Usage of all choices. Each of `prompts` prompts counts once, however many choices it has."""
    each = len(usages) // prompts or 1
    prompt_tokens = sum(usage.prompt_tokens for usage in usages[::each])
    completion_tokens = sum(usage.completion_tokens for usage in usages)
    shown = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": sum(usage.cached_tokens for usage in usages[::each])},
        "completion_tokens_details": {"reasoning_tokens": sum(usage.reasoning_tokens for usage in usages)},
    }
    if dropped := max(usage.dropped_messages for usage in usages):
        shown["dropped_messages"] = dropped
    return shown


class Answer:
    """The events of one choice, put together."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, tuple[str | None, str | None, list[str]]] = {}
        self._logprobs: list[TokenLogprob] = []
        self._reason: TurnReason = "length"
        self.usage = Usage()

    def add(self, event: TurnEvent) -> None:
        """Take the next event."""
        if isinstance(event, TextDelta):
            self._text.append(event.text)
            self._logprobs += event.logprobs
        elif isinstance(event, ReasoningDelta):
            self._reasoning.append(event.text)
        elif isinstance(event, ToolCallDelta):
            self._calls.setdefault(event.index, (event.id, event.name, []))[2].append(event.arguments)
        elif isinstance(event, TurnEnd):
            self._reason, self.usage = event.reason, event.usage

    def choice(self, index: int, *, with_logprobs: bool) -> dict[str, Any]:
        """The choice of a whole answer."""
        return {
            "index": index,
            "message": self.message(),
            "logprobs": {"content": [logprob(entry) for entry in self._logprobs], "refusal": None}
            if with_logprobs
            else None,
            "finish_reason": self._reason,
        }

    def message(self) -> dict[str, Any]:
        """The assistant's message; its content is null if it only calls tools."""
        text = "".join(self._text)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text or None if self._calls else text,
            "refusal": None,
        }
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            message["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": "".join(arguments)}}
                for id, name, arguments in self._calls.values()
            ]
        return message


def head_delta() -> dict[str, Any]:
    """The first delta of a choice."""
    return {"role": "assistant", "content": ""}


def delta_of(event: TextDelta | ReasoningDelta | ToolCallDelta) -> dict[str, Any]:
    """An event as the delta of a chunk."""
    if isinstance(event, TextDelta):
        return {"content": event.text}
    if isinstance(event, ReasoningDelta):
        return {"reasoning_content": event.text}
    call: dict[str, Any] = {"index": event.index}
    function: dict[str, Any] = {"arguments": event.arguments}
    if event.id is not None:
        call |= {"id": event.id, "type": "function"}
        function = {"name": event.name, "arguments": event.arguments}
    return {"tool_calls": [{**call, "function": function}]}


def chunk(
    head: dict[str, Any],
    index: int,
    delta: dict[str, Any],
    reason: TurnReason | None = None,
    logprobs: tuple[TokenLogprob, ...] = (),
) -> dict[str, Any]:
    """One `chat.completion.chunk`."""
    shown = {"content": [logprob(entry) for entry in logprobs], "refusal": None} if logprobs else None
    return {**head, "choices": [{"index": index, "delta": delta, "logprobs": shown, "finish_reason": reason}]}


def logprob(entry: TokenLogprob) -> dict[str, Any]:
    """A token of `logprobs.content`; its bytes are exact where its text is not whole."""
    return {**_bare_logprob(entry), "top_logprobs": [_bare_logprob(other) for other in entry.top]}


def clamped(value: float | None) -> float:
    """A log-probability that JSON can carry."""
    return LEAST_LOGPROB if value is None else max(value, LEAST_LOGPROB)


def _bare_logprob(entry: TokenLogprob) -> dict[str, Any]:
    return {"token": entry.text, "logprob": clamped(entry.logprob), "bytes": list(entry.piece)}
