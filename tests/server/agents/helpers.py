"""A model that follows a script, and an agent around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from ixmodal.engine.request import SamplingParams, Usage
from ixmodal.server.agents.agent import Agent
from ixmodal.server.turns import TextDelta, ToolCallDelta, ToolChoice, TurnEnd, TurnEvent, TurnRequest, TurnStarted
from ixmodal.spec.agents import AgentSpec

Script = list[TurnEvent | Exception]


class Turns:
    """A model that follows a script, a list of events for each turn; the last is repeated."""

    def __init__(self, *scripts: Script) -> None:
        self.requests: list[TurnRequest] = []
        self.closed = 0
        self._scripts = scripts

    async def __call__(self, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        self.requests.append(request)
        script = self._scripts[min(len(self.requests), len(self._scripts)) - 1]
        try:
            for event in script:
                await asyncio.sleep(0)
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed += 1


def says(text: str, reason: Any = "stop", tokens: int = 3) -> Script:
    return [
        TurnStarted(Usage(10, 0, 5)),
        *[TextDelta(text[i : i + 4]) for i in range(0, len(text), 4)],
        TurnEnd(reason, Usage(10, tokens, 5)),
    ]


def calls(*made: tuple[str, Any], text: str = "", tokens: int = 3) -> Script:
    events: Script = [TurnStarted(Usage(10, 0, 5))]
    events += [TextDelta(text)] if text else []
    for index, (name, arguments) in enumerate(made):
        written = arguments if isinstance(arguments, str) else json.dumps(arguments)
        events.append(ToolCallDelta(index, id=f"call_{index}", name=name))
        events += [ToolCallDelta(index, written[i : i + 5]) for i in range(0, len(written), 5)]
    return [*events, TurnEnd("tool_calls", Usage(10, tokens, 5))]


def agent(turns: Turns, *tools: str, timeout: float = 20, **fields: Any) -> Agent:
    paths = tuple(f"tests.server.agents.toolbox:{tool}" for tool in tools)
    return Agent.load(AgentSpec("helper", model="demo", tools=paths, **fields), turns, timeout=timeout)


def ask(*messages: tuple[str, str], tools: Sequence[str] = (), **fields: Any) -> TurnRequest:
    conversation = [{"role": role, "content": content} for role, content in messages or [("user", "Hi")]]
    offered = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in tools]
    # What the routes make of a request without `tool_choice`.
    fields.setdefault("tool_choice", ToolChoice("auto" if tools else "none"))
    return TurnRequest(conversation, fields.pop("sampling", SamplingParams()), offered, **fields)


async def run(helper: Agent, request: TurnRequest | None = None) -> list[TurnEvent]:
    return [event async for event in helper.run(request or ask())]


def text_of(events: list[TurnEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def results(turns: Turns, step: int = 1) -> list[str]:
    return [message["content"] for message in turns.requests[step].messages if message["role"] == "tool"]
