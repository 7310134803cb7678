"""Who answers a request: a model of the spec, or an agent around one."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from ixmodal.engine.client import EngineClient
from ixmodal.runtime import Runtime, ServedModel
from ixmodal.server.agents.agent import Agent, Turn
from ixmodal.server.callers import current_caller, find_model, not_permitted
from ixmodal.server.passage import passage
from ixmodal.server.telemetry.account import note_model, note_served_by
from ixmodal.server.turns import TurnEvent, TurnRequest
from ixmodal.server.upstream.turns import ask_upstream, overflowing

RunTurn = Callable[[EngineClient, TurnRequest], AsyncGenerator[TurnEvent, None]]


@dataclass(frozen=True)
class Responder:
    """An id, resolved, and how it answers a conversation."""

    id: str
    turn: Turn
    slots: int | None = None
    """Turns that its model takes at a time, where that is known."""


class Responders:
    """Models and agents by id."""

    def __init__(self, runtime: Runtime, run_turn: RunTurn) -> None:
        """Load the agents' tools. Raises `SpecError` that names those which can't be used."""
        self._runtime = runtime
        self._run_turn = run_turn
        self.created = int(time.time())
        timeout = runtime.spec.limits.request_timeout
        self.agents = {
            spec.id: Agent.load(spec, partial(self._ask, spec.model), timeout=timeout) for spec in runtime.spec.agents
        }

    def find(self, model: str | None, *, overflows: bool = False) -> Responder:
        """Who answers to that name.

        Args:
            model: the name; None for the default.
            overflows: have the turns of a model with `overflow_to` go there while it is busy or not ready, as agents'
                turns always do.

        Raises:
            RequestError: the name is unknown.
            EngineError: the model is not ready.
        """
        name = model or self._runtime.spec.default_model
        if name in self.agents:
            if not current_caller().may_use(name):
                raise not_permitted(name)
            agent = self.agents[name]
            note_model(agent.spec.id)
            return Responder(agent.spec.id, agent.run, self._slots(agent.spec.model))
        served = find_model(self._runtime, name)
        if served.upstream or (overflows and served.model.overflow_to):
            return Responder(served.model.id, partial(self._ask, served.model.id), self._slots(name))
        engine = served.engine_at_once
        return Responder(served.model.id, partial(self._run_turn, engine), engine.slots)

    def _slots(self, model: str | None) -> int | None:
        client = self._runtime.find(model).client
        return client.slots if client else None

    def _ask(self, model: str, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        """A model, found anew for each turn: it may not be loaded yet when its agent is declared."""
        served = self._runtime.find(model)
        if served.upstream:
            return ask_upstream(served.upstream, request)
        # A request that was passed on to this server stays here: it may have come from where this one overflows to.
        if served.model.overflow_to is None or passage().hops:
            return self._run_turn(served.engine, request)
        return overflowing(partial(self._ask_here, served), partial(self._overflow, served.model.overflow_to), request)

    def _overflow(self, model: str, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        note_served_by(model)
        return self._ask(model, request)

    async def _ask_here(self, served: ServedModel, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        async with aclosing(self._run_turn(served.engine_at_once, request)) as events:
            async for event in events:
                yield event
