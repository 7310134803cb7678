"""`POST /v1/completions`: the request, and the shapes of its answers."""

from __future__ import annotations

from typing import Annotated, Any, Self

import msgspec
from pydantic import BeforeValidator, Field, model_validator

from ixmodal.engine.request import FinishReason, InfillPrompt, SamplingParams, TextPrompt, TokenLogprob, TokenPrompt
from ixmodal.server.errors import HTTPError, field_error
from ixmodal.server.protocol.answers import clamped
from ixmodal.server.protocol.fields import SamplingFields, over
from ixmodal.spec import Limits

DEFAULT_MAX_TOKENS = 16
Prompt = TextPrompt | TokenPrompt | InfillPrompt


def _wrapped(value: Any) -> Any:
    """One form for the four that the API knows: a list of prompts, each a text or a list of token ids."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value and all(type(item) is int for item in value):
        return [value]
    return value


def prompt_list(value: Any) -> Any:
    """The prompts of a request in one form. Raises `ValueError` where it is none of the four that the API knows."""
    value = _wrapped(value)
    kinds = {str} if isinstance(value, list) and value and isinstance(value[0], str) else {list}
    if not isinstance(value, list) or not value or {type(item) for item in value} != kinds:
        raise ValueError(
            "it should be a string, an array of strings, an array of token ids, or an array of such arrays"
        )
    for item in value:
        if isinstance(item, list) and (not item or not all(type(token) is int for token in item)):
            raise ValueError("a prompt of token ids should hold at least one id, and integers only")
    return value


TokenIds = Annotated[list[int], Field(min_length=1)]
Prompts = str | Annotated[list[str], Field(min_length=1)] | TokenIds | Annotated[list[TokenIds], Field(min_length=1)]
"""The four forms."""


class CompletionRequest(SamplingFields):
    """The body."""

    prompt: Annotated[Any, BeforeValidator(prompt_list, json_schema_input_type=Prompts)]
    best_of: int | None = Field(None, ge=1, le=20)
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=20)
    """OpenAI stops at 5; as many as in chat are given, since lm-evaluation-harness asks for 10 (its model `gguf`)."""
    suffix: str | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.best_of is not None and self.best_of < (self.n or 1):
            raise field_error("best_of", "it should be at least 'n'")
        if self.stream and self.tries > (self.n or 1):
            raise field_error("best_of", "above 'n' it can't be streamed: the best is known at the end")
        if self.suffix and (self.echo or not all(isinstance(item, str) for item in self.prompt)):
            raise field_error("suffix", "it needs prompts that are texts, and no 'echo'")
        return self

    @property
    def tries(self) -> int:
        """Choices generated for each prompt."""
        return self.best_of or self.n or 1

    def check(self, limits: Limits) -> None:
        """Refuse what goes over the server's limits. Raises `HTTPError` that names the field."""
        if self.max_tokens is not None and self.max_tokens > limits.max_tokens:
            raise over("max_tokens", self.max_tokens, limits.max_tokens)
        for name in ("n", "best_of"):
            if (value := getattr(self, name)) and value > limits.max_choices:
                raise over(name, value, limits.max_choices)
        if len(self.prompt) > limits.max_prompts:
            raise HTTPError(
                400,
                f"'prompt' has {len(self.prompt)} entries, above this server's limit of {limits.max_prompts}.",
                param="prompt",
                code="limit_exceeded",
            )

    def prompts(self) -> list[Prompt]:
        """The prompts for the engine, in order."""
        return [self._prompt(item) for item in self.prompt]

    def _prompt(self, item: str | list[int]) -> Prompt:
        if isinstance(item, list):
            return TokenPrompt(item)
        return InfillPrompt(item, self.suffix) if self.suffix else TextPrompt(item)

    def choice_sampling(self, limits: Limits) -> SamplingParams:
        """How each choice is sampled."""
        limit = DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens
        logprobs = self.logprobs if self.logprobs is not None or self.tries == (self.n or 1) else 0
        return msgspec.structs.replace(
            self.sampling(limits, limit), logprobs=logprobs, prompt_logprobs=bool(self.echo and self.wants_prompt)
        )

    @property
    def wants_prompt(self) -> bool:
        """True if the prompt's tokens must be known: for their log-probabilities, or to spell ids as text."""
        return self.logprobs is not None or any(isinstance(item, list) for item in self.prompt)


def choice(
    index: int, text: str, reason: FinishReason | None = None, logprobs: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A choice, whole or a chunk of one."""
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


class LogprobList:
    """`logprobs` of a choice: four lists in step. Offsets count characters of prompt and answer."""

    def __init__(self) -> None:
        self._offset = 0

    def show(self, entries: tuple[TokenLogprob, ...] | list[TokenLogprob]) -> dict[str, Any]:
        """The next entries. The chosen token is always among its alternatives."""
        offsets = []
        for entry in entries:
            offsets.append(self._offset)
            self._offset += len(entry.text)
        return {
            "tokens": [entry.text for entry in entries],
            "token_logprobs": [None if entry.logprob is None else clamped(entry.logprob) for entry in entries],
            "top_logprobs": [_alternatives(entry) for entry in entries],
            "text_offset": offsets,
        }


def _alternatives(entry: TokenLogprob) -> dict[str, float] | None:
    if entry.logprob is None:
        return None
    shown = {other.text: clamped(other.logprob) for other in reversed(entry.top)}
    return {**shown, entry.text: clamped(entry.logprob)}
