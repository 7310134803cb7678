"""Items as the messages of the chat API, which chat templates know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ixmodal.server.errors import HTTPError
from ixmodal.server.protocol.responses.items import Item

Message = dict[str, Any]


def to_messages(instructions: str | None, items: Sequence[Item]) -> list[Message]:
    """A conversation for a turn.

    Instructions and the system messages right at the beginning become one: most templates take no second. Calls and
    reasoning join the assistant's message that they surround.

    Raises:
        HTTPError: an output answers a call that is not there.
    """
    messages: list[Message] = []
    called: dict[str, str] = {}
    for item in items:
        match item["type"]:
            case "message":
                _add_message(messages, item)
            case "reasoning":
                _add_reasoning(messages, item)
            case "function_call":
                called[item["call_id"]] = item["name"]
                _add_call(messages, item)
            case "function_call_output":
                messages.append(_output(item, called))
    return _with_instructions(instructions, messages)


def _add_message(messages: list[Message], item: Item) -> None:
    text = "".join(part.get("text", part.get("refusal", "")) for part in item["content"])
    if item["role"] != "assistant":
        role = "system" if item["role"] == "developer" else item["role"]
        messages.append({"role": role, "content": text})
        return
    message = _assistant(messages)
    if message["content"] or "tool_calls" in message:
        message = _new_assistant(messages)
    message["content"] = text


def _add_reasoning(messages: list[Message], item: Item) -> None:
    text = "".join(part["text"] for part in item.get("content") or item.get("summary") or ())
    if text:
        _new_assistant(messages)["reasoning_content"] = text


def _add_call(messages: list[Message], item: Item) -> None:
    function = {"name": item["name"], "arguments": item["arguments"]}
    call = {"id": item["call_id"], "type": "function", "function": function}
    _assistant(messages).setdefault("tool_calls", []).append(call)


def _output(item: Item, called: dict[str, str]) -> Message:
    if item["call_id"] not in called:
        raise HTTPError(
            400,
            f"No tool call found for function call output with call_id {item['call_id']}.",
            param="input",
            code="invalid_value",
        )
    return {
        "role": "tool",
        "tool_call_id": item["call_id"],
        "name": called[item["call_id"]],
        "content": item["output"],
    }


def _assistant(messages: list[Message]) -> Message:
    """The assistant's message at the end, or a new one."""
    return messages[-1] if messages and messages[-1]["role"] == "assistant" else _new_assistant(messages)


def _new_assistant(messages: list[Message]) -> Message:
    messages.append({"role": "assistant", "content": ""})
    return messages[-1]


def _with_instructions(instructions: str | None, messages: list[Message]) -> list[Message]:
    count = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    leading = [message["content"] for message in messages[:count]]
    texts = ([instructions] if instructions else []) + leading
    return ([{"role": "system", "content": "\n\n".join(texts)}] if texts else []) + messages[count:]


def without_oldest(messages: list[Message], turns: int) -> list[Message] | None:
    """The messages without the oldest turns; None if only one is left. A turn begins with a user's message."""
    head = [message for message in messages[:1] if message["role"] == "system"]
    rest = messages[len(head) :]
    starts = [i for i, message in enumerate(rest) if message["role"] == "user" and i > 0]
    return head + rest[starts[min(turns, len(starts)) - 1] :] if starts else None
