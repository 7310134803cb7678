"""What became of requests: every one is completed, refused, failed honestly, or lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_REFUSALS = {"server_busy", "model_not_ready", "server_stopping", "too_many_connections"}


class Outcome(StrEnum):
    """What a client can say of its request."""

    COMPLETED = "completed"
    """A whole answer, and the right one."""
    REFUSED = "refused"
    """Told to come back, and when; nothing was begun."""
    FAILED = "failed"
    """An error that says what happened: the envelope with a 5xx, or an error event in a stream."""
    LOST = "lost"
    """Anything else: a cut connection, half an answer that passes for a whole one, a wrong answer, silence."""


@dataclass
class Tally:
    """Counts of outcomes, and why requests were lost."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome, reason: str = "") -> None:
        """Count one; a reason is kept of what was not completed."""
        self.counts[outcome] += 1
        if outcome is not Outcome.COMPLETED:
            self.reasons[f"{outcome}: {reason}"[:160]] += 1

    @property
    def sent(self) -> int:
        """Requests in all."""
        return self.counts.total()

    def __getitem__(self, outcome: Outcome) -> int:
        return self.counts[outcome]


def judge_error(status: int, headers: Any, body: Any) -> tuple[Outcome, str]:
    """An answer that is not 200: refused with a time to come back, or failed honestly; otherwise lost."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not error.get("message") or not error.get("code"):
        return Outcome.LOST, f"{status} without an envelope: {body!r:.80}"
    code = str(error["code"])
    if status in (429, 503) and code in _REFUSALS:
        return (Outcome.REFUSED, code) if headers.get("retry-after") else (Outcome.LOST, f"{code} without Retry-After")
    if status >= 500 and code != "internal_error":
        return Outcome.FAILED, code
    return Outcome.LOST, f"{status} {code}"
