"""Tools, and how a request says which of them may be called."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ixmodal.server.errors import HTTPError
from ixmodal.server.protocol.body import Body
from ixmodal.server.turns import ToolChoice

MAX_TOOLS = 128
ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Function(Body):
    """A function that the model may call; `parameters` is a JSON schema of its arguments."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    """A tool of type `function`, the only type here."""

    type: Literal["function"]
    function: Function

    def to_template(self) -> dict[str, Any]:
        """The tool for a turn: as chat templates know it, and whether its calls must conform."""
        function: dict[str, Any] = {"name": self.function.name}
        if self.function.strict:
            function["strict"] = True
        if self.function.description is not None:
            function["description"] = self.function.description
        function["parameters"] = self.function.parameters or {"type": "object", "properties": {}}
        return {"type": "function", "function": function}


class FunctionName(Body):
    """A function by its name."""

    name: ToolName


class NamedChoice(Body):
    """`tool_choice` that names one function."""

    type: Literal["function"]
    function: FunctionName


class Allowed(Body):
    """The inside of an `allowed_tools` choice."""

    mode: Literal["auto", "required"]
    tools: list[NamedChoice] = Field(min_length=1, max_length=MAX_TOOLS)


class AllowedChoice(Body):
    """`tool_choice` that narrows the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: Allowed


def to_choice(
    choice: Literal["none", "auto", "required"] | NamedChoice | AllowedChoice | None, names: list[str]
) -> ToolChoice:
    """A request's `tool_choice` over its tools' names. Raises `HTTPError` 400 where it asks for what is not there."""
    if choice is None:
        return ToolChoice("auto" if names else "none")
    if isinstance(choice, NamedChoice):
        _check([choice.function.name], names)
        return ToolChoice("named", choice.function.name)
    if isinstance(choice, AllowedChoice):
        allowed = [tool.function.name for tool in choice.allowed_tools.tools]
        _check(allowed, names)
        return ToolChoice(choice.allowed_tools.mode, allowed=tuple(allowed))
    if choice == "required" and not names:
        raise HTTPError(400, "'tool_choice' is 'required', but there are no 'tools'.", param="tool_choice")
    return ToolChoice(choice)


def _check(wanted: list[str], names: list[str]) -> None:
    missing = [name for name in wanted if name not in names]
    if missing:
        raise HTTPError(
            400,
            f"'tool_choice' names the function '{missing[0]}', which is not among 'tools'.",
            param="tool_choice",
            code="invalid_value",
        )
