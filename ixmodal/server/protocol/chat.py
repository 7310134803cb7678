"""`POST /v1/chat/completions`: the request."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field, model_validator

from ixmodal.server.errors import field_error
from ixmodal.server.protocol.constraints import ResponseFormat, to_constraint
from ixmodal.server.protocol.fields import SamplingFields, over
from ixmodal.server.protocol.messages import Messages
from ixmodal.server.protocol.tools import MAX_TOOLS, AllowedChoice, NamedChoice, Tool, to_choice
from ixmodal.server.turns import TurnRequest
from ixmodal.spec import Limits


class ChatRequest(SamplingFields):
    """The body. Fields in `refused` are known but not honoured yet; those without effect are listed in docs/api.md."""

    refused: ClassVar[dict[str, tuple[Any, ...]]] = {
        "audio": (),
        "function_call": ("none",),
        "functions": ([],),
        "modalities": (["text"],),
        "moderation": (),
        "web_search_options": (),
    }
    without_effect: ClassVar[frozenset[str]] = SamplingFields.without_effect | {
        "metadata",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "service_tier",
        "store",
        "verbosity",
    }
    messages: Messages
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | AllowedChoice | None = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None

    metadata: dict[str, str] | None = None
    prediction: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    reasoning_effort: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    verbosity: str | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise field_error("max_tokens", "it can't be set beside 'max_completion_tokens'; use the latter")
        if self.max_tokens == 0:
            raise field_error("max_tokens", "it should be at least 1")
        return self

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise field_error("top_logprobs", "it needs 'logprobs' to be true")
        constraint = to_constraint(self.response_format, self.regex, self.grammar)
        if constraint and self.tools and self.tool_choice not in (None, "none", "auto"):
            raise field_error("tool_choice", f"a forced call and '{constraint.param}' can't both be honoured")
        return self

    @property
    def token_limit(self) -> int | None:
        """Tokens of an answer at most."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    def check(self, limits: Limits) -> None:
        """Refuse what goes over the server's limits. Raises `HTTPError` that names the field."""
        if len(self.messages) > limits.max_messages:
            raise over("messages", len(self.messages), limits.max_messages)
        if self.token_limit and self.token_limit > limits.max_tokens:
            name = "max_tokens" if self.max_tokens else "max_completion_tokens"
            raise over(name, self.token_limit, limits.max_tokens)
        if self.n and self.n > limits.max_choices:
            raise over("n", self.n, limits.max_choices)

    def turn(self, limits: Limits) -> TurnRequest:
        """The turn that this request asks for. Raises `HTTPError` 400 where `tool_choice` names what is not there."""
        tools = [tool.to_template() for tool in self.tools or ()]
        choice = to_choice(self.tool_choice, [tool["function"]["name"] for tool in tools])
        sampling = msgspec.structs.replace(
            self.sampling(limits, self.token_limit),
            constraint=to_constraint(self.response_format, self.regex, self.grammar),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )
        return TurnRequest(
            [message.to_template() for message in self.messages],
            sampling,
            tools,
            choice,
            self.parallel_tool_calls is not False,
            truncate=self.truncation == "auto",
            max_messages=limits.max_context_messages,
        )
