"""One assistant turn as events: text, reasoning, tool calls, end. Chat, responses and agents are all made of these."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from ixmodal.engine.client import EngineClient
from ixmodal.engine.request import ChatPrompt, FinishReason, GenerationRequest, SamplingParams, TokenLogprob, Usage

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


@dataclass(frozen=True)
class ToolChoice:
    """How tools may be used: `mode`, for `named` the function's name; `allowed` narrows the tools to choose from."""

    mode: Literal["none", "auto", "required", "named"] = "auto"
    name: str | None = None
    allowed: tuple[str, ...] | None = None


@dataclass(frozen=True)
class TurnRequest:
    """What a turn answers. Messages and tools as in the OpenAI chat API, content as text."""

    messages: list[dict[str, Any]]
    sampling: SamplingParams
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True


async def run_turn(engine: EngineClient, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
    """Answer a conversation.

    The first event is `TurnStarted`, the last `TurnEnd`. Closing the iterator frees the slot.

    Raises:
        IxmodalError: as `EngineClient.generate` does.
    """
    usage, reason = Usage(), FinishReason.LENGTH
    async with aclosing(engine.generate(GenerationRequest(ChatPrompt(request.messages), request.sampling))) as outputs:
        async for output in outputs:
            if not usage.prompt_tokens:
                yield TurnStarted(output.usage)
            usage, reason = output.usage, output.finish_reason or reason
            if output.text or output.logprobs:
                yield TextDelta(output.text, output.logprobs)
    yield TurnEnd("stop" if reason is FinishReason.STOP else "length", usage)
