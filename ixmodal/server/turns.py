"""One assistant turn: from a conversation to events. Chat, responses and agents are all made of these."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec.structs import replace

from ixmodal.engine.admission import Group
from ixmodal.engine.client import EngineClient
from ixmodal.engine.request import (
    ChatPrompt,
    Constraint,
    FinishReason,
    GenerationRequest,
    ModelInfo,
    SamplingParams,
    Usage,
)
from ixmodal.models.reasoning import BEGINS_WITH_THOUGHT, MARKERS, thinks
from ixmodal.models.tool_calls import ToolFormat, choose_format
from ixmodal.server.rates import metered
from ixmodal.server.telemetry.account import note_reason
from ixmodal.server.turn_events import (
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    TurnEnd,
    TurnEvent,
    TurnReason,
    TurnStarted,
)
from ixmodal.server.turn_reader import TurnReader

__all__ = [
    "ReasoningDelta",
    "TextDelta",
    "ToolCallDelta",
    "ToolChoice",
    "TurnEnd",
    "TurnEvent",
    "TurnReason",
    "TurnRequest",
    "TurnStarted",
    "ended",
    "name_of",
    "run_turn",
]


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
    truncate: bool = False
    """Drop the oldest turns of a conversation that is too long, rather than refuse it."""
    max_messages: int | None = None
    """Keep the system messages and at most this many others."""
    group: Group | None = None
    """What it has in common with the other choices of its request."""
    max_tool_calls: int | None = None
    """Tools that an agent may run for it; of a model's turn, whose tools are the client's, it says nothing."""


async def run_turn(engine: EngineClient, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
    """Answer a conversation.

    The first event is `TurnStarted`, the last `TurnEnd`. A forced tool choice constrains the engine, so that any model
    obeys; otherwise a call is recognised in what the model writes, and constrained from its beginning on where one of
    the tools is `strict`. What a model thinks comes first and is not constrained. Closing the iterator frees the slot.

    Raises:
        IxmodalError: as `EngineClient.generate` does.
    """
    model = await engine.describe()
    format = choose_format(model.chat_template)
    tools = _offered(request)
    messages, shown = format.adapt(request.messages, tools)
    may_think = thinks(model.chat_template)
    sampling = _with_tools(request, format, tools, model) if tools else request.sampling
    if may_think:
        sampling = replace(sampling, shown_control=sampling.shown_control + MARKERS)
    calls = format.parser((name_of(tool) for tool in tools), exact=_is_free(request, tools)) if tools else None
    reader = TurnReader(thinks=may_think, calls=calls)
    usage, reason, begun = Usage(), FinishReason.LENGTH, False
    prompt = ChatPrompt(messages, shown, request.truncate, request.max_messages)
    generated = engine.generate(GenerationRequest(prompt, sampling), request.group)
    async with aclosing(metered(request.messages, generated)) as outputs:
        async for output in outputs:
            if not begun:
                begun = True
                reader.begin(inside=output.starts_inside)
                yield TurnStarted(output.usage)
            usage, reason = output.usage, output.finish_reason or reason
            for event in reader.read(output):
                yield event
            if reader.has_called and not request.parallel_tool_calls:
                break
    if reader.has_called:
        yield ended("tool_calls", usage)
    else:
        yield ended("stop" if reason is FinishReason.STOP else "length", usage)


def ended(reason: TurnReason, usage: Usage) -> TurnEnd:
    """The last event, noted for the request's account."""
    note_reason(reason)
    return TurnEnd(reason, usage)


def name_of(tool: dict[str, Any]) -> str:
    """The function's name of a tool."""
    name: str = tool["function"]["name"]
    return name


def _offered(request: TurnRequest) -> list[dict[str, Any]]:
    """The tools that the model is told of."""
    choice = request.tool_choice
    if choice.mode == "none":
        return []
    return [tool for tool in request.tools if choice.allowed is None or name_of(tool) in choice.allowed]


def _is_free(request: TurnRequest, tools: list[dict[str, Any]]) -> bool:
    """Whether calls of strict tools must conform, though the model may answer in text as well."""
    is_strict = any(tool["function"].get("strict") for tool in tools)
    return request.tool_choice.mode == "auto" and is_strict and request.sampling.constraint is None


def _with_tools(
    request: TurnRequest, format: ToolFormat, tools: list[dict[str, Any]], model: ModelInfo
) -> SamplingParams:
    sampling = replace(request.sampling, shown_control=format.markers)
    if _is_free(request, tools):
        grammar = format.free_grammar(
            tools,
            parallel=request.parallel_tool_calls,
            control_ids=model.control_ids,
            but=BEGINS_WITH_THOUGHT if thinks(model.chat_template) else None,
        )
    elif request.tool_choice.mode in ("required", "named"):
        grammar = format.grammar(
            tools,
            name=request.tool_choice.name,
            parallel=request.parallel_tool_calls and request.tool_choice.mode == "required",
            control_ids=model.control_ids,
        )
    else:
        return sampling
    return replace(sampling, constraint=Constraint("grammar", grammar, "tools"))
