"""Conversations with tools, made fit for a model's chat template."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, Any]
Tool = dict[str, Any]

_MISTRAL_ID = re.compile(r"[A-Za-z0-9]{9}")
_INSTRUCTION = """\
# Tools

You can call these functions:
<tools>
{tools}
</tools>

To call a function, answer with its name and its arguments as a JSON object, in exactly this form:
<tool_call>
{{"name": "the function's name", "arguments": {{"an argument's name": "its value"}}}}
</tool_call>
To call several functions, write several such blocks. Results are given to you in <tool_response> blocks. Call a \
function only if it helps; otherwise answer in plain text."""


def normalise(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Messages as templates expect them: content always a text, arguments objects, no empty lists of calls."""
    return [_normalise_message(message) for message in messages]


def _normalise_message(message: Mapping[str, Any]) -> Message:
    normal = dict(message)
    if normal.get("content") is None:
        normal["content"] = ""
    calls = normal.pop("tool_calls", None)
    if calls:
        normal["tool_calls"] = [_normalise_call(call) for call in calls]
    return normal


def _normalise_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {**call, "function": {"name": function["name"], "arguments": _as_object(function.get("arguments"))}}


def _as_object(arguments: Any) -> Any:
    """Arguments as an object. A text that is none stays a text: what a model was cut off in, say."""
    if not isinstance(arguments, str):
        return arguments or {}
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


def describe(tools: Sequence[Mapping[str, Any]]) -> list[Tool]:
    """Tools as templates show them to the model: without options that are the server's."""
    return [{"type": "function", "function": _describe_function(tool["function"])} for tool in tools]


def _describe_function(function: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: function[key] for key in ("name", "description", "parameters") if function.get(key) is not None}
    return {**shown, "parameters": shown.get("parameters", {"type": "object", "properties": {}})}


def with_short_ids(messages: list[Message]) -> list[Message]:
    """Ids of nine letters and digits, which Mistral's templates insist on; the same id stays the same."""
    for message in messages:
        if message.get("tool_call_id"):
            message["tool_call_id"] = _short_id(message["tool_call_id"])
        if calls := message.get("tool_calls"):
            message["tool_calls"] = [{**call, "id": _short_id(call.get("id") or "")} for call in calls]
    return messages


def _short_id(id: str) -> str:
    return id if _MISTRAL_ID.fullmatch(id) else hashlib.sha256(id.encode()).hexdigest()[:9]


def one_call_a_message(messages: list[Message]) -> list[Message]:
    """Parallel calls one after the other, each with its result: Llama's templates know no others."""
    single: list[Message] = []
    at = 0
    while at < len(messages):
        message = messages[at]
        at += 1
        results: list[Message] = []
        while len(message.get("tool_calls", ())) > 1 and at < len(messages) and messages[at]["role"] == "tool":
            results.append(messages[at])
            at += 1
        single += _split_calls(message, results)
    return single


def _split_calls(message: Message, results: list[Message]) -> list[Message]:
    calls = message.get("tool_calls", [])
    if len(calls) < 2:
        return [message]
    split: list[Message] = []
    for i, call in enumerate(calls):
        split.append({**message, "content": message["content"] if i == 0 else "", "tool_calls": [call]})
        split += [result for result in results if result.get("tool_call_id") == call.get("id")]
    ids = [call.get("id") for call in calls]
    return split + [result for result in results if result.get("tool_call_id") not in ids]


def instruct(messages: list[Message], tools: list[Tool], *, system: bool) -> list[Message]:
    """The same conversation in plain text, with an instruction how to call tools, for templates that know none.

    The instruction ends the system message, or begins the first of the user where the template refuses `system`.
    """
    plain = _as_plain_text(messages)
    if not tools:
        return plain
    instruction = _INSTRUCTION.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    first = plain[0] if plain else {"role": "", "content": ""}
    if first["role"] in ("system", "developer"):
        return [{**first, "content": _join(first["content"], instruction)}, *plain[1:]]
    if system:
        return [{"role": "system", "content": instruction}, *plain]
    if first["role"] == "user":
        return [{**first, "content": _join(instruction, first["content"])}, *plain[1:]]
    return [{"role": "user", "content": instruction}, *plain]


def _as_plain_text(messages: list[Message]) -> list[Message]:
    """Calls and results as texts. Neighbouring results, and a user's text after them, are one: roles may alternate."""
    plain: list[Message] = []
    after_result = False
    for message in messages:
        is_result = message["role"] == "tool"
        if is_result:
            message = {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
        elif calls := message.get("tool_calls"):
            blocks = [message["content"], *map(_call_block, calls)]
            message = {"role": message["role"], "content": "\n".join(filter(None, blocks))}
        if after_result and message["role"] == "user":
            between = "\n" if is_result else "\n\n"
            plain[-1] = {"role": "user", "content": f"{plain[-1]['content']}{between}{message['content']}"}
        else:
            plain.append(message)
        after_result = is_result
    return plain


def _call_block(call: Mapping[str, Any]) -> str:
    function = call["function"]
    arguments = function["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f'<tool_call>\n{{"name": {json.dumps(function["name"])}, "arguments": {text}}}\n</tool_call>'


def _join(*texts: str) -> str:
    return "\n\n".join(text for text in texts if text)
