"""A log line for each request: a sentence for people, its fields for machines. Never a key; a body only if asked."""

from __future__ import annotations

import logging
from typing import Any

from ixmodal.engine.generation import Generation
from ixmodal.server.telemetry.account import Account

NAME = "ixmodal.access"
FIELDS = "ixmodal_fields"
"""The attribute of a log record that holds its fields."""
CLIENT_GONE = 499
"""The status of a request whose client hung up before there was one, as nginx writes it."""
PROBES = frozenset({"/health", "/healthz", "/readyz", "/metrics"})
_MAX_PATH = 128
logger = logging.getLogger(NAME)


class AccessLog:
    """Logs each request at its end. Probes that succeed are logged at DEBUG: they come every few seconds."""

    def __call__(self, account: Account) -> None:
        """Log a request that is over."""
        quiet = account.route in PROBES and account.outcome == "ok"
        level = logging.DEBUG if quiet else logging.INFO
        if logger.isEnabledFor(level):
            logger.log(level, _Line(account), extra={FIELDS: fields_of(account)})

    def late(self, account: Account, generation: Generation) -> None:
        """Log a generation that outlived its request: of a response in the background."""
        if logger.isEnabledFor(logging.INFO):
            fields = {
                "event": "background",
                "request_id": account.request_id,
                "key": account.caller,
                "model": account.model,
                "outcome": str(generation.outcome),
                **_tokens(generation),
            }
            shown = f"{fields['prompt_tokens']}+{fields['completion_tokens']} tokens {account.request_id}"
            logger.info("background %s %s %s", account.model, generation.outcome, shown, extra={FIELDS: fields})


class _Line:
    """The sentence, made only if a handler wants it."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def __str__(self) -> str:
        return line_of(self._account)


def line_of(account: Account) -> str:
    """A request as a line of text, in which nothing that a client sent can begin another."""
    fields = fields_of(account)
    parts = [account.method, _path(account), str(fields["status"]), account.outcome]
    parts += [account.model] if account.model else []
    parts += [f"by {account.served_by}"] if fields["served_by"] != (account.model or None) else []
    if fields["prompt_tokens"] or fields["completion_tokens"]:
        parts.append(f"{fields['prompt_tokens']}+{fields['completion_tokens']} tokens")
    for name, text in (("queue_seconds", "queue"), ("first_token_seconds", "first token"), ("seconds", "total")):
        if fields[name] is not None:
            parts.append(f"{text} {fields[name]:.3f} s")
    parts += [f"key {account.caller}"] if account.caller else []
    parts.append(account.request_id)
    return " ".join(parts) + (f" {fields['body']!a}" if "body" in fields else "")


def fields_of(account: Account) -> dict[str, Any]:
    """A request as fields. Times in seconds; None where there was no such moment."""
    first = next(iter(account.generations), None)
    queue = first.sent - first.began if first and first.sent else None
    tokens = [found.first_token for found in account.generations if found.first_token]
    fields: dict[str, Any] = {
        "event": "request",
        "request_id": account.request_id,
        "key": account.caller or None,
        "method": account.method,
        "path": account.path[:_MAX_PATH],
        "endpoint": account.route or None,
        "model": account.model or None,
        "served_by": account.served_by or account.model or None,
        "status": account.status or CLIENT_GONE,
        "outcome": account.outcome,
        "prompt_tokens": account.prompt_tokens,
        "cached_tokens": account.cached_tokens,
        "completion_tokens": account.completion_tokens,
        "queue_seconds": _rounded(queue),
        "first_token_seconds": _rounded(min(tokens) - account.began if tokens else None),
        "seconds": _rounded(account.seconds),
    }
    if account.body:
        fields["body"] = account.body.decode("utf-8", "replace")
    return fields


def _tokens(generation: Generation) -> dict[str, int]:
    return {
        "prompt_tokens": generation.prompt_tokens,
        "cached_tokens": generation.cached_tokens,
        "completion_tokens": generation.completion_tokens,
    }


def _path(account: Account) -> str:
    return account.route or ascii(account.path[:_MAX_PATH])[1:-1]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
