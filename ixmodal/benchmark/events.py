"""From the pieces of a streamed body to when its text arrived and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from ixmodal.benchmark.connection import Exchange


@dataclass
class Digest:
    """What a stream said."""

    deltas: list[float] = field(default_factory=list)
    """`time.perf_counter()` at each event with text."""
    text: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    outcome: str = "complete"
    detail: str = ""


def digest(exchange: Exchange) -> Digest:
    """Judge a response: complete is one of status 200 with a finish reason and the closing `[DONE]`."""
    found = Digest()
    if exchange.status != 200 and exchange.status:
        found.outcome = f"status {exchange.status}"
        found.detail = b"".join(piece for _, piece in exchange.pieces)[:300].decode("utf-8", "replace")
        return found
    found.detail = exchange.detail
    is_done = False
    for at, data in _events(exchange.pieces):
        is_done = is_done or data == b"[DONE]"
        if data.startswith(b"{"):
            _note(found, at, data)
    if found.outcome == "complete" and not (is_done and found.finish_reason):
        found.outcome = exchange.problem or "cut off"
    return found


def _events(pieces: list[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """The data of each event, with the time at which its last byte arrived."""
    rest = b""
    for at, piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield at, line[5:].strip()


def _note(found: Digest, at: float, data: bytes) -> None:
    try:
        _read(found, at, orjson.loads(data))
    except (ValueError, TypeError, AttributeError):
        found.outcome, found.detail = "odd event", data[:300].decode("utf-8", "replace")


def _read(found: Digest, at: float, event: dict[str, Any]) -> None:
    if event.get("error"):
        found.outcome, found.detail = "error event", str(event["error"])[:300]
        return
    found.usage = event.get("usage") or found.usage
    for choice in event.get("choices") or ():
        found.finish_reason = choice.get("finish_reason") or found.finish_reason
        if text := _text(choice):
            found.deltas.append(at)
            found.text += text


def _text(choice: dict[str, Any]) -> str:
    if "text" in choice:
        return choice["text"] or ""
    delta = choice.get("delta") or {}
    # Reasoning and calls are generated as well; what they say does not matter here, only that they came.
    calls = "".join((call.get("function") or {}).get("arguments") or "" for call in delta.get("tool_calls") or ())
    return (delta.get("content") or "") + (delta.get("reasoning_content") or "") + calls
