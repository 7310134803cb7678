"""`POST /v1/completions`: the request, and the shapes of its answers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from ixmodal.engine.request import FinishReason, TextPrompt, TokenPrompt
from ixmodal.server.protocol.chat import over
from ixmodal.server.protocol.fields import SamplingFields
from ixmodal.spec import Limits

DEFAULT_MAX_TOKENS = 16


def _prompts(value: Any) -> Any:
    """One form for the four that the API knows: a list of prompts, each a text or a list of token ids."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value and all(type(item) is int for item in value):
        return [value]
    return value


def _is_prompt_list(value: Any) -> Any:
    kinds = {str} if isinstance(value, list) and value and isinstance(value[0], str) else {list}
    if not isinstance(value, list) or not value or {type(item) for item in value} != kinds:
        raise ValueError(
            "it should be a string, an array of strings, an array of token ids, or an array of such arrays"
        )
    for item in value:
        if isinstance(item, list) and (not item or not all(type(token) is int for token in item)):
            raise ValueError("a prompt of token ids should hold at least one id, and integers only")
    return value


class CompletionRequest(SamplingFields):
    """The body. Fields in `refused` are known but not honoured yet."""

    refused: ClassVar[dict[str, tuple[Any, ...]]] = {
        "best_of": (1,),
        "echo": (False,),
        "logprobs": (),
        "suffix": ("",),
    }
    prompt: Annotated[Any, BeforeValidator(_is_prompt_list), BeforeValidator(_prompts)]

    def check(self, limits: Limits) -> None:
        """Refuse what goes over the server's limits. Raises `HTTPError` that names the field."""
        if self.max_tokens is not None and self.max_tokens > limits.max_tokens:
            raise over("max_tokens", self.max_tokens, limits.max_tokens)
        if self.n and self.n > limits.max_choices:
            raise over("n", self.n, limits.max_choices)
        if len(self.prompt) * (self.n or 1) > limits.max_choices:
            raise over("prompt", len(self.prompt) * (self.n or 1), limits.max_choices)

    def prompts(self) -> list[TextPrompt | TokenPrompt]:
        """The prompts for the engine, in order."""
        return [TextPrompt(item) if isinstance(item, str) else TokenPrompt(item) for item in self.prompt]


def choice(index: int, text: str, reason: FinishReason | None = None) -> dict[str, Any]:
    """A choice, whole or a chunk of one."""
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
