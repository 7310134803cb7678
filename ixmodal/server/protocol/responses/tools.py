"""Function tools and how they may be chosen, in the flat form of `/v1/responses`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from ixmodal.server.errors import field_error
from ixmodal.server.protocol.body import Body
from ixmodal.server.protocol.shown import NullIsUnset
from ixmodal.server.protocol.tools import MAX_TOOLS, ToolName
from ixmodal.server.turns import ToolChoice


class FunctionTool(NullIsUnset):
    """A function that the client runs."""

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _only_functions(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        kind = data.get("type")
        if kind is not None and kind != "function":
            raise PydanticCustomError(
                "unsupported_parameter",
                "A tool of type {kind} is not run by this server; tools are of type 'function'",
                {"param": "tools", "kind": repr(kind)[:60]},
            )
        return data

    def to_chat(self) -> dict[str, Any]:
        """The tool in the nested form of the chat API."""
        function = {"parameters": {"type": "object", "properties": {}}} | self.model_dump(
            exclude={"type", "strict"}, exclude_none=True
        )
        if self.strict:
            function["strict"] = True
        return {"type": "function", "function": function}


class NamedTool(Body):
    """A function by its name."""

    type: Literal["function"]
    name: ToolName


class AllowedTools(Body):
    """A choice that narrows the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1, max_length=MAX_TOOLS)


def _form(value: Any) -> str | None:
    if isinstance(value, str):
        return "<word>"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return {"function": "<function>", "allowed_tools": "<allowed_tools>"}.get(kind) if isinstance(kind, str) else None


# In the path of an error, a name that is no identifier is left out.
ToolChoiceField = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<word>")]
    | Annotated[NamedTool, Tag("<function>")]
    | Annotated[AllowedTools, Tag("<allowed_tools>")],
    Discriminator(
        _form,
        custom_error_type="tool_choice",
        custom_error_message="it should be none, auto, required, or an object of type function or allowed_tools",
    ),
]
"""`tool_choice`: a word, a function, or allowed tools."""


def to_choice(choice: ToolChoiceField | None, *, has_tools: bool) -> ToolChoice:
    """The choice for a turn."""
    if choice is None:
        return ToolChoice("auto" if has_tools else "none")
    if isinstance(choice, NamedTool):
        return ToolChoice("named", choice.name)
    if isinstance(choice, AllowedTools):
        return ToolChoice(choice.mode, allowed=tuple(tool.name for tool in choice.tools))
    return ToolChoice(choice)


def check_choice(choice: ToolChoiceField | None, tools: Sequence[FunctionTool]) -> None:
    """Raise a field error for tools of one name, and for a choice of tools that are not there."""
    names = [tool.name for tool in tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise field_error("tools", f"two functions have the name '{twice}'")
    wanted = to_choice(choice, has_tools=bool(tools))
    named = [wanted.name] if wanted.name else wanted.allowed or ()
    if missing := next((name for name in named if name not in names), None):
        raise field_error("tool_choice", f"it names the function '{missing}', which is not among 'tools'")
    if wanted.mode == "required" and not names:
        raise field_error("tool_choice", "it is 'required', but there are no 'tools'")
