"""Usage of chat and text completions."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict


class PromptTokensDetails(TypedDict):
    """Tokens of the prompt that a slot already held."""

    cached_tokens: int


class CompletionTokensDetails(TypedDict):
    """Tokens of the answer up to the end of the model's thought."""

    reasoning_tokens: int


class CompletionUsage(TypedDict):
    """Tokens really evaluated and sampled."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails
    dropped_messages: NotRequired[int]
