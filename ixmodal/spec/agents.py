"""The declaration of agents, and the checks that need more than one of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Any

from pydantic import Field, StringConstraints, field_validator

from ixmodal.spec.declared import Declared, ModelId

ToolPath = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_.]*$"),
]
"""Where a tool is imported from: `module:function`."""


class AgentSpec(Declared):
    """A model with instructions and tools that the server runs; clients ask it as they ask a model."""

    id: ModelId = Field(description="The id that clients send as `model`.")
    model: ModelId = Field(description="The id of the model that answers.")
    instructions: str = Field(
        "", max_length=262_144, description="Put before the caller's system message, in the same message."
    )
    tools: tuple[ToolPath, ...] = Field(
        (), max_length=64, description="Python functions, `module:function`, with type hints; they may be async."
    )
    max_steps: int = Field(
        8, ge=1, le=64, description="Turns in which the model may call tools; the one after must be an answer."
    )
    max_calls: int = Field(16, ge=1, le=128, description="Calls of one turn that are run; the rest are refused.")
    max_running_tools: int = Field(
        32, ge=1, le=1024, description="Calls run at the same time, for all requests, with those that hang."
    )
    tool_timeout: float = Field(30, gt=0, le=3600, description="Seconds a call may take.")
    max_result_bytes: int = Field(
        16_384, ge=256, le=16_777_216, description="Bytes of a call's result that the model reads; the rest is cut."
    )

    def __init__(self, id: str | None = None, /, **fields: Any) -> None:
        super().__init__(**({"id": id} if id is not None else {}), **fields)

    @field_validator("tools", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


def check_agents(agents: Sequence[AgentSpec], model_ids: Collection[str]) -> None:
    """Check agents against each other and the models. Raises `ValueError` with the field and what to write instead."""
    ids = [agent.id for agent in agents]
    for index, agent in enumerate(agents):
        where = f"agents.{index}"
        if agent.id in model_ids:
            raise ValueError(f'{where}.id: "{agent.id}" is the id of a model; give the agent its own')
        if agent.id in ids[:index]:
            raise ValueError(f'{where}.id: two agents have the id "{agent.id}"; give each its own')
        if agent.model in model_ids:
            continue
        what = "is an agent, not a model" if agent.model in ids else "is not among `models`"
        raise ValueError(f'{where}.model: "{agent.model}" {what}; write one of {", ".join(model_ids)}')
