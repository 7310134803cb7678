"""Which messages of a long conversation are kept: the system's, and whole turns from the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]


def turn_starts(messages: Sequence[Message]) -> list[int]:
    """Where a conversation may begin: at its first message that is not the system's, and at each user's message."""
    spoken = [at for at, message in enumerate(messages) if message.get("role") != "system"]
    return [at for at in spoken if at == spoken[0] or messages[at].get("role") == "user"] or [0]


def from_turn(messages: Sequence[Message], start: int) -> list[Message]:
    """The system messages, and all from `start` on."""
    return [message for at, message in enumerate(messages) if at >= start or message.get("role") == "system"]


def drop_oldest(messages: Sequence[Message], most: int | None) -> list[Message]:
    """Whole turns from the end, at most `most` messages beside the system's; the last turn is always kept."""
    if most is None:
        return list(messages)
    starts = turn_starts(messages)
    fitting = [at for at in starts if sum(m.get("role") != "system" for m in messages[at:]) <= most]
    return from_turn(messages, fitting[0] if fitting else starts[-1])
