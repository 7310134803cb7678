"""Function tools and how they may be chosen, in the flat form of `/v1/responses`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from ixmodal.server.errors import field_error
from ixmodal.server.protocol.tools import MAX_TOOLS, ToolName
from ixmodal.server.turns import ToolChoice


class FunctionTool(BaseModel):
    """A function that the client runs."""

    model_config = ConfigDict(extra="forbid", strict=True)
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
        return {name: value for name, value in data.items() if value is not None}

    def to_chat(self) -> dict[str, Any]:
        """The tool in the nested form of the chat API."""
        function = {"parameters": {"type": "object", "properties": {}}} | self.model_dump(
            exclude={"type", "strict"}, exclude_none=True
        )
        return {"type": "function", "function": function}


class ToolChoiceFields(BaseModel):
    """`tool_choice`: a word, a function, or allowed tools."""

    model_config = ConfigDict(extra="forbid", strict=True)
    type: Literal["none", "auto", "required", "function", "allowed_tools"]
    name: ToolName | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list[dict[Literal["type", "name"], str]] | None = Field(None, min_length=1, max_length=MAX_TOOLS)

    @model_validator(mode="before")
    @classmethod
    def _word(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"type": data if data in ("none", "auto", "required") else f"{data!r:.40}"}
        return data

    @model_validator(mode="after")
    def _whole(self) -> ToolChoiceFields:
        if (self.name is not None) != (self.type == "function"):
            raise ValueError("a 'name' belongs to the type 'function', and only to it")
        has_list = self.mode is not None and self.tools is not None
        if has_list != (self.type == "allowed_tools") or (self.mode is None) != (self.tools is None):
            raise ValueError("'mode' and 'tools' belong to the type 'allowed_tools', and only to it")
        if any(tool.get("type") != "function" or "name" not in tool for tool in self.tools or ()):
            raise ValueError("allowed tools are of the form {'type': 'function', 'name': …}")
        return self

    @property
    def names(self) -> list[str]:
        """The functions it names."""
        return [self.name] if self.name else [tool["name"] for tool in self.tools or ()]

    @property
    def choice(self) -> ToolChoice:
        """The choice for a turn."""
        if self.type == "function":
            return ToolChoice("named", self.name)
        if self.type == "allowed_tools":
            return ToolChoice(self.mode or "auto", allowed=tuple(self.names))
        return ToolChoice(self.type)

    def echo(self) -> Any:
        """The choice as the response repeats it."""
        return self.type if self.type in ("none", "auto", "required") else self.model_dump(exclude_none=True)


def check_choice(choice: ToolChoiceFields | None, tools: Sequence[FunctionTool]) -> None:
    """Raise a field error for tools of one name, and for a choice of tools that are not there."""
    names = [tool.name for tool in tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise field_error("tools", f"two functions have the name '{twice}'")
    if choice is None:
        return
    if missing := next((name for name in choice.names if name not in names), None):
        raise field_error("tool_choice", f"it names the function '{missing}', which is not among 'tools'")
    if choice.type == "required" and not names:
        raise field_error("tool_choice", "it is 'required', but there are no 'tools'")
