"""What is known of a request, wherever in its task it is learnt: for its log line, its metrics and its trace."""

from __future__ import annotations

import time
from contextvars import ContextVar

from ixmodal.engine.generation import Generation
from ixmodal.engine.request import FinishReason, Usage


class Account:
    """One HTTP request. `began` is of `time.monotonic()`, `began_at` nanoseconds since 1970."""

    def __init__(self, request_id: str, method: str, path: str, traceparent: str = "") -> None:
        self.request_id = request_id
        self.method = method
        self.path = path
        self.traceparent = traceparent
        """The client's own trace, as it names it (https://www.w3.org/TR/trace-context/)."""
        self.began = time.monotonic()
        self.began_at = time.time_ns()
        self.ended: float | None = None
        self.route = ""
        """The path's template; empty if no route has it."""
        self.caller = ""
        self.model = ""
        """The model or agent of the spec that was asked for; empty if none is known."""
        self.served_by = ""
        """The model that answered in place of it."""
        self.status = 0
        self.is_complete = False
        self.error: str | None = None
        self.limit: str | None = None
        """Which of the caller's limits refused it."""
        self.reason: str | None = None
        self.generations: list[Generation] = []
        self.usage = Usage()
        """What upstreams told that they spent."""
        self.body = b""
        """The beginning of the body, where the spec asks for it to be logged."""

    @property
    def outcome(self) -> str:
        """How it ended: an error's code, `cancelled`, the finish reason, `status_N` of an upstream, or `ok`."""
        if self.error:
            return self.error
        if not self.is_complete:
            return "cancelled"
        if self.status >= 400:
            return f"status_{self.status}"
        return self.reason or next((str(found) for found in self._reasons), "ok")

    @property
    def is_answered(self) -> bool:
        """True if it asked a model and has its whole answer."""
        return bool(self.model) and self.is_complete and self.error is None and self.status < 400

    @property
    def prompt_tokens(self) -> int:
        """Of all its generations."""
        return self.usage.prompt_tokens + sum(found.prompt_tokens for found in self.generations)

    @property
    def completion_tokens(self) -> int:
        """Of all its generations."""
        return self.usage.completion_tokens + sum(found.completion_tokens for found in self.generations)

    @property
    def cached_tokens(self) -> int:
        """Of all its generations' prompts."""
        return self.usage.cached_tokens + sum(found.cached_tokens for found in self.generations)

    @property
    def seconds(self) -> float:
        """How long it took, or takes so far."""
        return (self.ended or time.monotonic()) - self.began

    @property
    def _reasons(self) -> list[FinishReason]:
        return [found.outcome for found in self.generations if isinstance(found.outcome, FinishReason)]


_current: ContextVar[Account | None] = ContextVar("account", default=None)


def open_account(account: Account) -> None:
    """Say which request this task works on; tasks that it starts inherit it."""
    _current.set(account)


def current_account() -> Account | None:
    """The account of the request that this task works on."""
    return _current.get()


def note_model(id: str) -> None:
    """A request's model is known."""
    if account := _current.get():
        account.model = id


def note_served_by(id: str) -> None:
    """Another model answers than the one that was asked for."""
    if account := _current.get():
        account.served_by = id


def note_error(code: str | None, kind: str) -> None:
    """A request is told of an error: its code, or else its type."""
    if account := _current.get():
        account.error = code or kind
        if code == "rate_limit_exceeded":
            account.limit = kind


def note_reason(reason: str) -> None:
    """A turn ended; of a request with several, the last one tells."""
    if account := _current.get():
        account.reason = reason


def note_body(body: bytes, most: int) -> None:
    """The body has come; at most so many of its bytes are kept."""
    if most and (account := _current.get()):
        account.body = body[:most]


def note_usage(usage: Usage) -> None:
    """An upstream spent tokens for the request."""
    if account := _current.get():
        held = account.usage
        account.usage = Usage(
            held.prompt_tokens + usage.prompt_tokens,
            held.completion_tokens + usage.completion_tokens,
            held.cached_tokens + usage.cached_tokens,
        )
