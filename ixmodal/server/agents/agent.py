"""An agent: it answers like a model, and runs its tools on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ixmodal.engine.request import SamplingParams, Usage
from ixmodal.errors import BusyError, ContextLengthError, DeadlineError, InvalidRequestError
from ixmodal.server.agents.reply import Call, Reply, Step
from ixmodal.server.agents.tools import Tool, ToolLimits, load_tools
from ixmodal.server.agents.workers import Workers
from ixmodal.server.turns import TextDelta, ToolChoice, TurnEvent, TurnReason, TurnRequest, ended
from ixmodal.spec.agents import AgentSpec

Turn = Callable[[TurnRequest], AsyncGenerator[TurnEvent, None]]
"""How a model answers a conversation: `run_turn`, bound to its engine."""


@dataclass(frozen=True)
class _Plan:
    """A request as the agent takes it: its tools beside the client's, a time at which it must be done."""

    request: TurnRequest
    client_tools: frozenset[str]
    deadline: float
    answers_apart: bool
    """The answer must have a form that leaves no room for calls: once there are no more, a last step writes it."""


class Agent:
    """Instructions and tools around a model. Lives on one event loop; its requests share its places for tools."""

    def __init__(self, spec: AgentSpec, tools: Sequence[Tool], turn: Turn, *, timeout: float) -> None:
        """Put tools around `turn`; a request may take `timeout` seconds in all."""
        self.spec = spec
        self._tools = {tool.name: tool for tool in tools}
        self._turn = turn
        self._timeout = timeout
        self._workers = Workers(spec.max_running_tools)

    @classmethod
    def load(cls, spec: AgentSpec, turn: Turn, *, timeout: float) -> Agent:
        """Import the declared tools. Raises `SpecError` that names those which can't be used."""
        return cls(spec, load_tools(spec.tools, spec.id), turn, timeout=timeout)

    async def run(self, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        """Answer a conversation, as `run_turn` does.

        Of the request's fields, these mean something of their own here:

        - `messages`: the instructions come first, in one message with the system messages at the conversation's
          beginning, which follow after an empty line.
        - `tools` and `tool_choice` are about the client's tools. A call of one ends the turn; own calls beside it are
          not run. `none` leaves the client's tools out, `required` makes the turn end with a call of one of them.
        - `max_tool_calls`: calls of the agent's tools that are run at most. Then it must answer.
        - `sampling`: `max_tokens` and `min_tokens` are bounds of all steps together. A constraint is that of a last
          step, before which no text is shown. The rest holds for each step.

        The usage is the sum over all steps. If results outgrow the context, the turn ends for `length`.

        Raises:
            InvalidRequestError: a client's tool has the name of one of the agent's.
            DeadlineError: the time of the request ran out.
            IxmodalError: as the model's turns do.
        """
        plan = self._plan(request)
        reply = Reply(plan.client_tools)
        messages = plan.request.messages
        is_last = False
        left = plan.request.max_tool_calls
        while True:
            step = Step(reply.steps, is_last=is_last or reply.steps >= self.spec.max_steps)
            async with aclosing(self._take(step, plan, messages, reply)) as events:
                async for event in events:
                    yield event
            if reason := self._reason(plan, step, reply.usage):
                break
            if step.calls:
                messages = [*messages, step.message(), *await self._answer_calls(step.calls, plan.deadline, left)]
                left = None if left is None else max(0, left - len(step.calls))
            is_last = not step.calls or left == 0
        yield ended(reason, reply.usage)

    async def _take(
        self, step: Step, plan: _Plan, messages: list[dict[str, Any]], reply: Reply
    ) -> AsyncGenerator[TurnEvent, None]:
        hides_text = plan.answers_apart and not step.is_last
        request = replace(
            plan.request,
            messages=messages,
            sampling=_what_is_left(plan.request.sampling, reply.usage.completion_tokens, free=hides_text),
            tool_choice=self._choice(plan, step),
        )
        try:
            async with aclosing(self._events(request, step, plan.deadline)) as events:
                async for event in events:
                    step.add(event)
                    if hides_text and isinstance(event, TextDelta):
                        continue
                    if shown := reply.show(event, step):
                        yield shown
        except ContextLengthError:
            # The client's messages fit: it is the tools' results that do not. Such a step ends for `length`.
            if step.number == 0:
                raise

    async def _events(self, request: TurnRequest, step: Step, deadline: float) -> AsyncGenerator[TurnEvent, None]:
        """The model's turn. A later step waits where the first is refused: work was done already."""
        while True:
            try:
                async with aclosing(self._turn(request)) as events:
                    while event := await _next(events, deadline):
                        yield event
                return
            except BusyError as error:
                if step.number == 0 or step.has_begun:
                    raise
                async with _before(deadline):
                    await asyncio.sleep(error.retry_after)

    def _plan(self, request: TurnRequest) -> _Plan:
        offered = request.tools if request.tool_choice.mode != "none" else []
        names = [tool["function"]["name"] for tool in offered]
        if clash := next((name for name in names if name in self._tools), None):
            raise InvalidRequestError(
                f"The agent {self.spec.id} has a tool '{clash}' of its own; give yours another name.",
                param="tools",
                code="invalid_value",
            )
        whole = replace(
            request,
            messages=_with_instructions(self.spec.instructions, request.messages),
            tools=[*(tool.definition for tool in self._tools.values()), *offered],
        )
        deadline = asyncio.get_running_loop().time() + self._timeout
        return _Plan(whole, frozenset(names), deadline, bool(self._tools and request.sampling.constraint))

    def _choice(self, plan: _Plan, step: Step) -> ToolChoice:
        choice = plan.request.tool_choice
        if not plan.request.tools:
            return ToolChoice("none")
        if step.is_last:
            clients = choice.allowed or tuple(sorted(plan.client_tools))
            must_call = choice.mode == "required" and clients
            return ToolChoice("required", allowed=clients) if must_call else ToolChoice("none")
        if choice.mode == "none" or (choice.mode == "named" and step.number > 0):
            return ToolChoice("auto")
        return replace(choice, allowed=(*choice.allowed, *self._tools)) if choice.allowed is not None else choice

    def _reason(self, plan: _Plan, step: Step, used: Usage) -> TurnReason | None:
        """Why the turn ends with this step; None if it goes on."""
        limit = plan.request.sampling.max_tokens
        if step.reason == "length":
            return "length"
        if any(call.name in plan.client_tools for call in step.calls):
            return "tool_calls"
        if step.is_last or not (step.calls or plan.answers_apart):
            return "stop"
        return "length" if limit is not None and used.completion_tokens >= limit else None

    async def _answer_calls(self, calls: list[Call], deadline: float, left: int | None) -> list[dict[str, Any]]:
        async with _before(deadline), asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._call(index, call, left)) for index, call in enumerate(calls)]
        return [
            {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": task.result()}
            for call, task in zip(calls, tasks, strict=True)
        ]

    async def _call(self, index: int, call: Call, left: int | None) -> str:
        if left is not None and index >= left:
            return "Error: this call was not run; the request allows no more tool calls"
        if index >= self.spec.max_calls:
            return f"Error: this call was not run; make at most {self.spec.max_calls} at a time"
        if call.name not in self._tools:
            return f"Error: there is no tool {call.name:.64}; the tools are: {', '.join(self._tools) or 'none'}"
        limits = ToolLimits(self.spec.tool_timeout, self.spec.max_result_bytes)
        return await self._tools[call.name].call(call.arguments, self._workers, limits)


def _with_instructions(instructions: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not instructions:
        return messages
    count = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    texts = [instructions, *(message["content"] for message in messages[:count])]
    return [{"role": "system", "content": "\n\n".join(filter(None, texts))}, *messages[count:]]


def _what_is_left(sampling: SamplingParams, used: int, *, free: bool) -> SamplingParams:
    """The sampling of the next step: bounds of tokens less those generated already, without constraint if `free`."""
    return msgspec.structs.replace(
        sampling,
        max_tokens=None if sampling.max_tokens is None else sampling.max_tokens - used,
        min_tokens=max(0, sampling.min_tokens - used),
        constraint=None if free else sampling.constraint,
    )


async def _next(events: AsyncGenerator[TurnEvent, None], deadline: float) -> TurnEvent | None:
    """The next event; None after the last. Raises `DeadlineError`."""
    async with _before(deadline):
        return await anext(events, None)


@asynccontextmanager
async def _before(deadline: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout_at(deadline) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineError("The request ran past its time limit; ask for less, or raise it in the spec.") from None
