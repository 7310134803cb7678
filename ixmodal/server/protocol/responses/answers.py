"""The response object of `/v1/responses`, its usage and its errors."""

from __future__ import annotations

import time
from typing import Any

from pydantic import BaseModel

from ixmodal.engine.request import Usage
from ixmodal.errors import BusyError, RequestError
from ixmodal.server.errors import HTTPError, to_http
from ixmodal.server.protocol.responses.items import new_id
from ixmodal.server.protocol.responses.request import ResponsesRequest
from ixmodal.server.protocol.responses.tools import ToolChoiceField

Response = dict[str, Any]
FINAL = frozenset({"completed", "incomplete", "failed", "cancelled"})


def new_response(body: ResponsesRequest) -> Response:
    """A response before its first token: what was asked for, nothing yet answered."""
    background = body.background is True
    response: Response = {
        "id": new_id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "queued" if background else "in_progress",
        "background": background,
        "error": None,
        "incomplete_details": None,
        "model": body.model,
        "output": [],
        "usage": None,
        **_asked(body),
        **_hints(body),
    }
    if body.user is not None:
        response["user"] = body.user
    return response


def _asked(body: ResponsesRequest) -> Response:
    """What was asked for and is honoured."""
    text: dict[str, Any] = {"format": body.format.model_dump(by_alias=True, exclude_none=True)}
    if body.text and body.text.verbosity:
        text["verbosity"] = body.text.verbosity
    return {
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "conversation": {"id": body.conversation} if body.conversation else None,
        "store": body.stores,
        "temperature": 1.0 if body.temperature is None else body.temperature,
        "top_p": 1.0 if body.top_p is None else body.top_p,
        "presence_penalty": body.presence_penalty or 0.0,
        "frequency_penalty": body.frequency_penalty or 0.0,
        "top_logprobs": body.top_logprobs or 0,
        "text": text,
        "tool_choice": _choice(body.tool_choice),
        "tools": [_tool(tool.model_dump()) for tool in body.tools or ()],
        "truncation": body.truncation or "disabled",
        "metadata": body.metadata or {},
    }


def _choice(choice: ToolChoiceField | None) -> Any:
    return choice.model_dump() if isinstance(choice, BaseModel) else choice or "auto"


def _hints(body: ResponsesRequest) -> Response:
    """What has no effect here and is only repeated."""
    reasoning = body.reasoning.model_dump(exclude_none=True) if body.reasoning else {}
    return {
        "max_tool_calls": body.max_tool_calls,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {"effort": None, "summary": None, **reasoning},
        "safety_identifier": body.safety_identifier,
        "service_tier": "default",
    }


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    return tool if tool["description"] is not None else {k: v for k, v in tool.items() if k != "description"}


def usage_of(usage: Usage) -> dict[str, Any]:
    """Usage; what a slot did not already hold of the prompt was written to its cache."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.prompt_tokens - usage.cached_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def error_of(error: Exception) -> tuple[dict[str, str], dict[str, Any]]:
    """An exception as a response's `error`, and as the envelope of an error event."""
    envelope: dict[str, Any] = to_http(error).as_event()["error"]
    code = "server_error"
    if isinstance(error, BusyError):
        code = "rate_limit_exceeded"
    elif isinstance(error, RequestError) or (isinstance(error, HTTPError) and error.status == 400):
        code = "invalid_prompt"
    return {"code": code, "message": envelope["message"]}, envelope
