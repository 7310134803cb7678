"""Answers of the token routes."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict


class Tokens(TypedDict):
    """A prompt's tokens."""

    tokens: list[int]
    count: int
    max_model_len: int
    token_strs: NotRequired[list[str]]


class PromptText(TypedDict):
    """A prompt as text."""

    prompt: str


class TokenizerInfo(TypedDict):
    """The vocabulary and the template."""

    tokenizer_class: str
    vocab_size: int
    context_length: int
    chat_template: str | None
    bos_token: str | None
    eos_token: str | None
