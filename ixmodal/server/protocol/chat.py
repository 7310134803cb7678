"""`POST /v1/chat/completions`: the request, and the shapes of its answers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ixmodal.engine.request import ChatPrompt, FinishReason, Usage
from ixmodal.server.errors import HTTPError
from ixmodal.server.protocol.fields import SamplingFields
from ixmodal.spec import Limits


def _text_of_parts(content: Any) -> Any:
    """Content as one text. Parts of other kinds (images, audio, files) are refused by their type."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            raise ValueError(f"a content part has the type {kind!r:.40}; this model reads parts of type 'text' only")
        if set(part) != {"type", "text"} or not isinstance(part["text"], str):
            raise ValueError("a text part has exactly the keys 'type' and 'text'")
        texts.append(part["text"])
    return "".join(texts)


class Message(BaseModel):
    """One message of a conversation, its content as one text."""

    model_config = ConfigDict(extra="forbid", strict=True)
    role: Literal["developer", "system", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_text_of_parts)]
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    refusal: None = None

    def to_template(self) -> dict[str, Any]:
        """The message as chat templates know it: `developer` is today's word for `system`."""
        message = {"role": "system" if self.role == "developer" else self.role, "content": self.content}
        return message if self.name is None else {**message, "name": self.name}


class ChatRequest(SamplingFields):
    """The body. Fields in `refused` are known but not honoured yet; those without effect are listed in docs/api.md."""

    refused: ClassVar[dict[str, tuple[Any, ...]]] = {
        "audio": (),
        "function_call": ("none",),
        "functions": ([],),
        "logprobs": (False,),
        "modalities": (["text"],),
        "moderation": (),
        "response_format": ({"type": "text"},),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "top_logprobs": (0,),
        "web_search_options": (),
    }
    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)

    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool | None = None
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
            raise ValueError("'max_tokens' and 'max_completion_tokens' can't both be set; use 'max_completion_tokens'")
        if self.max_tokens == 0:
            raise ValueError("'max_tokens' must be at least 1")
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

    def prompt(self) -> ChatPrompt:
        """The conversation for the engine."""
        return ChatPrompt([message.to_template() for message in self.messages])


def over(param: str, value: int, limit: int) -> HTTPError:
    """The refusal of a value over a limit of the server."""
    return HTTPError(
        400, f"'{param}' is {value}, above this server's limit of {limit}.", param=param, code="limit_exceeded"
    )


def usage_of(usages: list[Usage], prompts: int = 1) -> dict[str, Any]:
    """Usage of all choices. Each of `prompts` prompts counts once, however many choices it has."""
    each = len(usages) // prompts or 1
    prompt_tokens = sum(usage.prompt_tokens for usage in usages[::each])
    completion_tokens = sum(usage.completion_tokens for usage in usages)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": sum(usage.cached_tokens for usage in usages[::each])},
    }


def completion(
    head: dict[str, Any], choices: list[tuple[str, FinishReason | None]], usage: dict[str, Any]
) -> dict[str, Any]:
    """A whole `chat.completion`."""
    return {
        **head,
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": reason,
            }
            for index, (text, reason) in enumerate(choices)
        ],
        "usage": usage,
    }


def chunk(
    head: dict[str, Any], index: int, delta: dict[str, Any], reason: FinishReason | None = None
) -> dict[str, Any]:
    """One `chat.completion.chunk`."""
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {**head, "choices": [choice]}
