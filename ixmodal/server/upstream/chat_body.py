"""A turn as the body of a chat completion, for an upstream."""

from __future__ import annotations

from typing import Any

import msgspec

from ixmodal.engine.request import Constraint, SamplingParams
from ixmodal.engine.truncation import drop_oldest
from ixmodal.server.turns import TurnRequest, name_of

_NEUTRAL = SamplingParams()
_AS_THEY_ARE = (
    "min_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "ignore_eos",
    "typical_p",
)


def chat_body(request: TurnRequest, model: str, max_tokens: int) -> dict[str, Any]:
    """The body of a streamed chat completion. What is neutral is left out: not every server knows every field.

    Args:
        request: the turn.
        model: the model's id over there.
        max_tokens: this server's own bound, which stands for none in the request.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": [_message(item) for item in drop_oldest(request.messages, request.max_messages)],
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(request.sampling, max_tokens),
        **_tools(request),
    }
    if request.truncate:
        body["truncation"] = "auto"
    return body


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """Without what templates know and the API does not."""
    left_out = {"reasoning_content", "name"} if message["role"] == "tool" else {"reasoning_content"}
    shown = {name: value for name, value in message.items() if name not in left_out}
    if shown.get("tool_calls") and not shown.get("content"):
        shown["content"] = None
    return shown


def _sampling(sampling: SamplingParams, max_tokens: int) -> dict[str, Any]:
    names = [name for name in _AS_THEY_ARE if getattr(sampling, name) != getattr(_NEUTRAL, name)]
    fields = {name: getattr(sampling, name) for name in names}
    if sampling.max_tokens is not None and sampling.max_tokens < max_tokens:
        fields["max_tokens"] = sampling.max_tokens
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.stop_token_ids:
        fields["stop_token_ids"] = list(sampling.stop_token_ids)
    if sampling.logit_bias:
        fields["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if sampling.mirostat_tau is not None:
        fields |= {"mirostat": 2, "mirostat_tau": sampling.mirostat_tau, "mirostat_eta": sampling.mirostat_eta}
    if sampling.logprobs is not None:
        fields["logprobs"] = True
        if sampling.logprobs:
            fields["top_logprobs"] = sampling.logprobs
    return fields | (_constraint(sampling.constraint) if sampling.constraint else {})


def _constraint(constraint: Constraint) -> dict[str, Any]:
    if constraint.kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if constraint.kind == "json_schema":
        schema = {"name": "answer", "schema": msgspec.json.decode(constraint.value), "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {constraint.kind: constraint.value}


def _tools(request: TurnRequest) -> dict[str, Any]:
    choice = request.tool_choice
    tools = [tool for tool in request.tools if choice.allowed is None or name_of(tool) in choice.allowed]
    if choice.mode == "none" or not tools:
        return {}
    fields: dict[str, Any] = {"tools": tools}
    if choice.mode == "named":
        fields["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice.mode == "required":
        fields["tool_choice"] = "required"
    if not request.parallel_tool_calls:
        fields["parallel_tool_calls"] = False
    return fields
