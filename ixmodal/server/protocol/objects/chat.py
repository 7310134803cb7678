"""Answers of `POST /v1/chat/completions`, whole and in chunks."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from ixmodal.server.protocol.objects.errors import ErrorBody
from ixmodal.server.protocol.objects.usage import CompletionUsage

FinishReason = Literal["stop", "length", "tool_calls"]


class TopLogprob(TypedDict):
    """A token that might have been; `bytes` are exact where the text is not whole."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A token of the answer, and the likeliest in its place."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(TypedDict):
    """`logprobs` of a choice."""

    content: list[TokenLogprob]
    refusal: None


class CalledFunction(TypedDict):
    """The function of a call; `arguments` is JSON as a string."""

    name: str | None
    arguments: str


class ToolCallObject(TypedDict):
    """A call of a tool of the client's."""

    id: str | None
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(TypedDict):
    """The answer; its content is null if it only calls tools."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCallObject]]


class Choice(TypedDict):
    """One answer of `n`."""

    index: int
    message: AssistantMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(TypedDict):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage


class FunctionDelta(TypedDict):
    """More of a call's arguments; the first delta has the name."""

    name: NotRequired[str | None]
    arguments: str


class ToolCallDelta(TypedDict):
    """A piece of a call; only the first of an index has id and type."""

    index: int
    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    function: FunctionDelta


class Delta(TypedDict):
    """What a chunk adds."""

    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str]
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCallDelta]]


class ChunkChoice(TypedDict):
    """A piece of one answer."""

    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason | None


class ChatCompletionChunk(TypedDict):
    """A piece of an answer; the last one with `include_usage` has usage and no choices."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: NotRequired[CompletionUsage | None]


class StreamError(TypedDict):
    """The event of a stream that fails; nothing follows but `[DONE]`."""

    error: ErrorBody


ChatEvent = ChatCompletionChunk | StreamError
