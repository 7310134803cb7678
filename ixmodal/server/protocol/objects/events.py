"""The events of a streamed response; `sequence_number` counts from 0."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from ixmodal.server.protocol.objects.errors import ErrorBody
from ixmodal.server.protocol.objects.items import OutputItem, OutputTextPart, ReasoningTextPart
from ixmodal.server.protocol.objects.responses import ResponseObject


class _Event(TypedDict):
    sequence_number: int


class _OfItem(_Event):
    item_id: str
    output_index: int


class _OfContent(_OfItem):
    content_index: int


class BareTopLogprob(TypedDict):
    """A token that might have been, without its bytes."""

    token: str
    logprob: float


class BareLogprob(BareTopLogprob):
    """A token of the text, without its bytes."""

    top_logprobs: list[BareTopLogprob]


class ResponseEvent(_Event):
    """The whole response, where its status changes."""

    type: Literal[
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    response: ResponseObject


class OutputItemEvent(_Event):
    """An item begins or is whole."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int
    item: OutputItem


class ContentPartEvent(_OfContent):
    """A part of an item begins or is whole."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    part: OutputTextPart | ReasoningTextPart


class TextDeltaEvent(_OfContent):
    """More text."""

    type: Literal["response.output_text.delta"]
    delta: str
    logprobs: list[BareLogprob]


class TextDoneEvent(_OfContent):
    """The whole text."""

    type: Literal["response.output_text.done"]
    text: str
    logprobs: list[BareLogprob]


class ReasoningDeltaEvent(_OfContent):
    """More reasoning."""

    type: Literal["response.reasoning_text.delta"]
    delta: str


class ReasoningDoneEvent(_OfContent):
    """The whole reasoning."""

    type: Literal["response.reasoning_text.done"]
    text: str


class ArgumentsDeltaEvent(_OfItem):
    """More of a call's arguments."""

    type: Literal["response.function_call_arguments.delta"]
    delta: str


class ArgumentsDoneEvent(_OfItem):
    """The whole arguments."""

    type: Literal["response.function_call_arguments.done"]
    name: str
    arguments: str


class ErrorEvent(_Event):
    """The turn failed: flat for some clients, nested for others. `response.failed` follows."""

    type: Literal["error"]
    code: str | None
    message: str
    param: str | None
    error: NotRequired[ErrorBody]


ResponseStreamEvent = Annotated[
    ResponseEvent
    | OutputItemEvent
    | ContentPartEvent
    | TextDeltaEvent
    | TextDoneEvent
    | ReasoningDeltaEvent
    | ReasoningDoneEvent
    | ArgumentsDeltaEvent
    | ArgumentsDoneEvent
    | ErrorEvent,
    Field(discriminator="type"),
]
