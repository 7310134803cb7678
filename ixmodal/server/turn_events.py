"""What happens in an assistant's turn: text, reasoning, tool calls, end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ixmodal.engine.request import TokenLogprob, Usage

TurnReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True)
class TextDelta:
    """Text of the answer that became certain, with its tokens' log-probabilities if they were asked for."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class ReasoningDelta:
    """Text that the model thought before it answered."""

    text: str


@dataclass(frozen=True)
class ToolCallDelta:
    """A piece of a tool call. The first of each `index` has `id` and `name` and no arguments, later ones arguments."""

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class TurnStarted:
    """First event: the prompt was accepted."""

    usage: Usage


@dataclass(frozen=True)
class TurnEnd:
    """Last event: why the turn ended, and its usage."""

    reason: TurnReason
    usage: Usage


TurnEvent = TurnStarted | TextDelta | ReasoningDelta | ToolCallDelta | TurnEnd
