"""Items of responses and conversations, as they are kept and told."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from ixmodal.server.protocol.objects.chat import TokenLogprob

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Caller = dict[Literal["type"], Literal["direct"]]


class InputTextPart(TypedDict):
    """A text that was sent."""

    type: Literal["input_text"]
    text: str


class OutputTextPart(TypedDict):
    """A text of the assistant's."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[TokenLogprob]


class OutputRefusalPart(TypedDict):
    """A refusal of the assistant's."""

    type: Literal["refusal"]
    refusal: str


class ReasoningTextPart(TypedDict):
    """A text that was thought."""

    type: Literal["reasoning_text"]
    text: str


class ThoughtPart(TypedDict):
    """A text of a reasoning item, or of its summary."""

    type: Literal["summary_text", "reasoning_text"]
    text: str


class MessageObject(TypedDict):
    """A message."""

    id: str
    type: Literal["message"]
    role: Literal["user", "assistant", "system", "developer"]
    content: list[InputTextPart | OutputTextPart | OutputRefusalPart]
    status: ItemStatus
    phase: NotRequired[Literal["commentary", "final_answer"]]


class FunctionCallObject(TypedDict):
    """A call of a function of the client's."""

    id: str
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    status: ItemStatus
    caller: NotRequired[Caller]


class FunctionCallOutputObject(TypedDict):
    """What a called function answered."""

    id: str
    type: Literal["function_call_output"]
    call_id: str
    output: str
    name: NotRequired[str]
    status: ItemStatus
    caller: NotRequired[Caller]


class ReasoningObject(TypedDict):
    """What the model thought."""

    id: str
    type: Literal["reasoning"]
    summary: list[ThoughtPart]
    content: NotRequired[list[ThoughtPart]]
    encrypted_content: NotRequired[str]
    status: ItemStatus


ItemObject = Annotated[
    MessageObject | FunctionCallObject | FunctionCallOutputObject | ReasoningObject, Field(discriminator="type")
]
OutputItem = Annotated[MessageObject | FunctionCallObject | ReasoningObject, Field(discriminator="type")]


class ItemList(TypedDict):
    """A page of items; the ids of an empty one are empty texts."""

    object: Literal["list"]
    data: list[ItemObject]
    first_id: str
    last_id: str
    has_more: bool
