"""Who answers a request: a model of the spec, or an agent around one."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial

from ixmodal.engine.client import EngineClient
from ixmodal.runtime import Runtime
from ixmodal.server.agents.agent import Agent, Turn
from ixmodal.server.callers import current_caller, find_model, not_permitted
from ixmodal.server.turns import TurnEvent, TurnRequest

RunTurn = Callable[[EngineClient, TurnRequest], AsyncGenerator[TurnEvent, None]]


@dataclass(frozen=True)
class Responder:
    """An id, resolved, and how it answers a conversation."""

    id: str
    turn: Turn


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

    def find(self, model: str | None) -> Responder:
        """Who answers to that name. Raises `RequestError` for an unknown name, `EngineError` for a model not ready."""
        name = model or self._runtime.spec.default_model
        if name in self.agents:
            if not current_caller().may_use(name):
                raise not_permitted(name)
            agent = self.agents[name]
            return Responder(agent.spec.id, agent.run)
        served = find_model(self._runtime, name)
        return Responder(served.model.id, partial(self._run_turn, served.engine))

    def _ask(self, model: str, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        """A model, found anew for each turn: it may not be loaded yet when its agent is declared."""
        return self._run_turn(self._runtime.find(model).engine, request)
