"""The response object of `/v1/responses`, conversations, and what deleting answers."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from ixmodal.server.protocol.objects.items import OutputItem

ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class ResponseError(TypedDict):
    """Why a response failed."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class IncompleteDetails(TypedDict):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens"]


class InputTokensDetails(TypedDict):
    """Tokens of the input that a slot held already, and the rest."""

    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(TypedDict):
    """Tokens of the output by kind."""

    reasoning_tokens: int


class ResponseUsage(TypedDict):
    """Tokens really evaluated and sampled."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ConversationReference(TypedDict):
    """The conversation that a response belongs to."""

    id: str


class TextFormat(TypedDict):
    """What the text must look like."""

    type: Literal["text", "json_object", "json_schema"]
    name: NotRequired[str]
    schema: NotRequired[dict[str, Any]]
    description: NotRequired[str]
    strict: NotRequired[bool]


class TextSettings(TypedDict):
    """What was asked of the text."""

    format: TextFormat
    verbosity: NotRequired[Literal["low", "medium", "high"]]


class ReasoningSettings(TypedDict):
    """What was asked of the reasoning; it has no effect."""

    effort: str | None
    summary: str | None
    generate_summary: NotRequired[str]
    context: NotRequired[str]
    mode: NotRequired[str]


class ToolObject(TypedDict):
    """A function that the client runs."""

    type: Literal["function"]
    name: str
    description: NotRequired[str]
    parameters: dict[str, Any] | None
    strict: bool | None


class FunctionReference(TypedDict):
    """A function by its name."""

    type: Literal["function"]
    name: str


class AllowedToolsObject(TypedDict):
    """A choice that narrows the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[FunctionReference]


class ResponseObject(TypedDict):
    """A response: what was asked for, and what is answered so far."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: ResponseStatus
    background: bool
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    model: str | None
    output: list[OutputItem]
    usage: ResponseUsage | None
    instructions: str | None
    max_output_tokens: int | None
    parallel_tool_calls: bool
    previous_response_id: str | None
    conversation: ConversationReference | None
    store: bool
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    top_logprobs: int
    text: TextSettings
    tool_choice: Literal["none", "auto", "required"] | FunctionReference | AllowedToolsObject
    tools: list[ToolObject]
    truncation: Literal["auto", "disabled"]
    metadata: dict[str, str]
    max_tool_calls: int | None
    prompt_cache_key: str | None
    reasoning: ReasoningSettings
    safety_identifier: str | None
    service_tier: Literal["default"]
    user: NotRequired[str]


class DeletedResponse(TypedDict):
    """A response that is gone."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class Conversation(TypedDict):
    """A conversation; its items are listed apart."""

    id: str
    object: Literal["conversation"]
    created_at: int
    metadata: dict[str, str]


class DeletedConversation(TypedDict):
    """A conversation that is gone."""

    id: str
    object: Literal["conversation.deleted"]
    deleted: Literal[True]
