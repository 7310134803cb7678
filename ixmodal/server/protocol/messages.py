"""Messages of a conversation, as clients send them and as chat templates know them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, Self

from pydantic import BeforeValidator, Field, model_validator

from ixmodal.server.errors import field_error
from ixmodal.server.protocol.body import Body
from ixmodal.server.protocol.shown import ClosedDict, shown_as

MAX_TOOL_CALLS = 128


class TextPart(ClosedDict):
    """A part of a content: a text."""

    type: Literal["text"]
    text: str


class RefusalPart(ClosedDict):
    """A part of an assistant's content: a refusal."""

    type: Literal["refusal"]
    refusal: str


def _text_of_parts(content: Any) -> Any:
    """Content as one text. Parts of other kinds (images, audio, files) are refused by their type."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        key = "refusal" if kind == "refusal" else "text"
        if kind not in ("text", "refusal"):
            raise ValueError(f"a content part has the type {kind!r:.40}; this model reads parts of type 'text' only")
        if set(part) != {"type", key} or not isinstance(part[key], str):
            raise ValueError(f"a {kind} part has exactly the keys 'type' and '{key}'")
        texts.append(part[key])
    return "".join(texts)


Content = str | list[TextPart | RefusalPart]


class FunctionCall(Body):
    """The function of a tool call; `arguments` is JSON as a string."""

    name: str = Field(min_length=1, max_length=64)
    arguments: str


class ToolCall(Body):
    """A call that the assistant made earlier."""

    id: str = Field(min_length=1, max_length=128)
    type: Literal["function"] = "function"
    function: FunctionCall


Name = Annotated[str, Field(min_length=1, max_length=64)]
CallId = Annotated[str, Field(min_length=1, max_length=128)]
ToolCalls = Annotated[list[ToolCall], Field(max_length=MAX_TOOL_CALLS)]


class Message(Body):
    """One message, its content as one text."""

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: Annotated[str | None, BeforeValidator(_text_of_parts)] = None
    name: Name | None = None
    tool_calls: ToolCalls | None = None
    tool_call_id: CallId | None = None
    refusal: str | None = None
    reasoning_content: str | None = None

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        if self.role == "tool" and self.tool_call_id is None:
            raise field_error("tool_call_id", "a message of role 'tool' needs it")
        if self.role != "tool" and self.tool_call_id is not None:
            raise field_error("tool_call_id", "it belongs to messages of role 'tool'")
        if self.role != "assistant":
            for name in ("tool_calls", "refusal", "reasoning_content"):
                if getattr(self, name) is not None:
                    raise field_error(name, "it belongs to messages of role 'assistant'")
        if self.content is None and self.refusal is None and not (self.role == "assistant" and self.tool_calls):
            raise field_error("content", "it is missing; only an assistant message with 'tool_calls' may go without")
        return self

    def to_template(self) -> dict[str, Any]:
        """The message as chat templates know it: `developer` is today's word for `system`."""
        role = "system" if self.role == "developer" else self.role
        message: dict[str, Any] = {"role": role, "content": self.content or self.refusal or ""}
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        for name in ("name", "tool_call_id", "reasoning_content"):
            if (value := getattr(self, name)) is not None:
                message[name] = value
        return message


class SentMessage(ClosedDict):
    """How a message of the user's, or an instruction, is sent."""

    role: Literal["developer", "system", "user"]
    content: Content
    name: NotRequired[Name | None]
    tool_calls: NotRequired[None]
    tool_call_id: NotRequired[None]
    refusal: NotRequired[None]
    reasoning_content: NotRequired[None]


class SentAssistantMessage(ClosedDict):
    """How a message of the assistant's is sent: with a content, a refusal, or calls of tools."""

    role: Literal["assistant"]
    content: NotRequired[Content | None]
    name: NotRequired[Name | None]
    tool_calls: NotRequired[ToolCalls | None]
    tool_call_id: NotRequired[None]
    refusal: NotRequired[str | None]
    reasoning_content: NotRequired[str | None]


class SentToolMessage(ClosedDict):
    """How the answer of a tool is sent."""

    role: Literal["tool"]
    content: Content
    tool_call_id: CallId
    name: NotRequired[Name | None]
    tool_calls: NotRequired[None]
    refusal: NotRequired[None]
    reasoning_content: NotRequired[None]


_Sent = Annotated[SentMessage | SentAssistantMessage | SentToolMessage, Field(discriminator="role")]
Messages = Annotated[list[Message], Field(min_length=1), shown_as(Annotated[list[_Sent], Field(min_length=1)])]
"""The messages of a request: at least one."""
