"""`POST /v1/responses`: the request."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import BeforeValidator, Field, model_validator

from ixmodal.engine.request import Constraint
from ixmodal.server.errors import HTTPError, field_error
from ixmodal.server.protocol.body import Body
from ixmodal.server.protocol.fields import SamplingFields, over
from ixmodal.server.protocol.responses.items import Id, InputItems, Item, kept
from ixmodal.server.protocol.responses.tools import FunctionTool, ToolChoiceField, check_choice, to_choice
from ixmodal.server.protocol.shown import NullIsUnset
from ixmodal.server.turns import TurnRequest
from ixmodal.spec import Limits

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]
LOGPROBS = "message.output_text.logprobs"
Include = Literal[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]


def _conversation_id(value: Any) -> Any:
    return value.get("id") if isinstance(value, dict) and set(value) == {"id"} else value


class ConversationId(Body):
    """A conversation by its id."""

    id: Id


_READS_ID = BeforeValidator(_conversation_id, json_schema_input_type=Id | ConversationId | None)


class ResponseStreamOptions(Body):
    """`stream_options`."""

    include_obfuscation: Literal[False] | None = None


class Format(Body):
    """`text.format`; the last four fields belong to `json_schema`."""

    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    description: str | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        own = (self.name, self.schema_, self.description, self.strict)
        if self.type != "json_schema" and any(value is not None for value in own):
            raise ValueError(f"a format of type '{self.type}' has no further keys")
        if self.type == "json_schema" and (self.name is None or self.schema_ is None):
            raise ValueError("a format of type 'json_schema' needs 'name' and 'schema'")
        return self

    @property
    def constraint(self) -> Constraint | None:
        """What the answer must look like."""
        if self.type == "text":
            return None
        return Constraint(self.type, json.dumps(self.schema_) if self.schema_ is not None else "", "text.format")


class TextOptions(NullIsUnset):
    """`text`: what the answer looks like."""

    format: Format = Field(default_factory=lambda: Format(type="text"))
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningOptions(Body):
    """`reasoning`: no effect here."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: str | None = None


class ResponsesRequest(SamplingFields):
    """The body. Null means unset; those fields without effect are listed in docs/api.md."""

    refused: ClassVar[dict[str, tuple[Any, ...]]] = {
        "access_programs": (),
        "background_options": (),
        "context_management": (),
        "image": (),
        "max_tokens": (),
        "moderation": (),
        "n": (1,),
        "prompt": (),
    }
    without_effect: ClassVar[frozenset[str]] = SamplingFields.without_effect | {
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
    }
    input: InputItems | None = None
    instructions: str | None = None
    previous_response_id: Id | None = None
    conversation: Annotated[Id | None, _READS_ID] = None
    store: bool | None = None
    background: bool | None = None
    stream_options: ResponseStreamOptions | None = None  # type: ignore[assignment]  # other options than chat's
    max_output_tokens: int | None = Field(None, ge=16)
    top_logprobs: int | None = Field(None, ge=0, le=20)
    truncation: Literal["auto", "disabled"] | None = None
    metadata: Metadata | None = None
    include: list[Include] | None = None
    text: TextOptions | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None
    tool_choice: ToolChoiceField | None = None
    parallel_tool_calls: bool | None = None

    max_tool_calls: int | None = Field(None, ge=1)
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    reasoning: ReasoningOptions | None = None
    safety_identifier: str | None = Field(None, max_length=128)
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_choice(self.tool_choice, self.tools or [])
        if self.previous_response_id and self.conversation:
            raise field_error("previous_response_id", "it can't be set beside 'conversation'")
        if self.background and self.store is False:
            raise field_error("store", "a background response must be stored; leave it out")
        if self.format.constraint and (self.regex or self.grammar):
            raise field_error("text", "only one of its 'format', 'regex' and 'grammar' can be set")
        return self

    def check(self, limits: Limits) -> None:
        """Refuse a request without input, and what goes over the server's limits. Raises `HTTPError`."""
        if not self.input and not self.previous_response_id:
            text = "Missing required parameter: 'input' (or 'previous_response_id')."
            raise HTTPError(400, text, param="input", code="missing_required_parameter")
        if self.max_output_tokens and self.max_output_tokens > limits.max_tokens:
            raise over("max_output_tokens", self.max_output_tokens, limits.max_tokens)

    @property
    def stores(self) -> bool:
        """True unless the client asks that nothing is kept."""
        return self.store is not False

    @property
    def wants_logprobs(self) -> bool:
        """True if log-probabilities are to be reported."""
        return bool(self.top_logprobs) or LOGPROBS in (self.include or ())

    @property
    def format(self) -> Format:
        """What the text of the answer must look like."""
        return self.text.format if self.text else Format(type="text")

    def items(self) -> list[Item]:
        """The input as it is kept."""
        return [kept(item) for item in self.input or ()]

    def turn(self, messages: list[dict[str, Any]], limits: Limits) -> TurnRequest:
        """The turn that answers these messages."""
        sampling = self.sampling(limits, self.max_output_tokens)
        sampling = msgspec.structs.replace(
            sampling,
            constraint=self.format.constraint or sampling.constraint,
            logprobs=(self.top_logprobs or 0) if self.wants_logprobs else None,
        )
        tools = [tool.to_chat() for tool in self.tools or ()]
        choice = to_choice(self.tool_choice, has_tools=bool(tools))
        return TurnRequest(
            messages,
            sampling,
            tools,
            choice,
            self.parallel_tool_calls is not False,
            max_tool_calls=self.max_tool_calls,
        )
