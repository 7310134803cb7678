from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ixmodal.spec.agents import AgentSpec, check_agents


def test_an_agent_has_bounds_by_default() -> None:
    agent = AgentSpec("helper", model="demo", tools="a.b:c")
    assert agent == AgentSpec(id="helper", model="demo", tools=("a.b:c",))
    assert (agent.max_steps, agent.tool_timeout, agent.max_result_bytes) == (8, 30, 16_384)
    assert AgentSpec.model_validate_json(agent.model_dump_json()) == agent


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": ["a.b"]},
        {"tools": ["a/b:c"]},
        {"tools": ["a:"]},
        {"max_steps": 0},
        {"max_steps": 65},
        {"tool_timeout": 0},
        {"max_result_bytes": 10},
        {"max_calls": 0},
        {"max_running_tools": 0},
        {"steps": 3},
        {"model": ""},
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AgentSpec.model_validate({"id": "helper", "model": "demo", **fields})


@pytest.mark.parametrize("name", AgentSpec.model_fields)
def test_every_field_is_described(name: str) -> None:
    assert str(AgentSpec.model_fields[name].description).endswith(".")


@pytest.mark.parametrize(
    ("agents", "problem"),
    [
        ([("demo", "demo")], 'agents.0.id: "demo" is the id of a model; give the agent its own'),
        ([("a", "demo"), ("a", "demo")], 'agents.1.id: two agents have the id "a"; give each its own'),
        ([("a", "demi")], 'agents.0.model: "demi" is not among `models`; write one of demo, other'),
        ([("a", "demo"), ("b", "a")], 'agents.1.model: "a" is an agent, not a model; write one of demo, other'),
    ],
)
def test_agents_fit_each_other_and_the_models(agents: list[tuple[str, str]], problem: str) -> None:
    with pytest.raises(ValueError, match=r"agents\.") as caught:
        check_agents([AgentSpec(id, model=model) for id, model in agents], ["demo", "other"])
    assert str(caught.value) == problem


def test_agents_that_fit_pass() -> None:
    check_agents([AgentSpec("a", model="demo"), AgentSpec("b", model="demo")], ["demo"])
    check_agents([], [])
