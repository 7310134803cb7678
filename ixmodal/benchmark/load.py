"""What is asked of a server."""

from __future__ import annotations

from typing import Any

import msgspec


class Load(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conversations to hold with one server, all streamed.

    With `rate` the loop is open: conversations begin at random (Poisson) times, however slow the server is. Without, it
    is closed: `streams` clients, each of which begins its next conversation when its last one is over.
    """

    base_url: str
    """Ends in /v1, as OpenAI clients have it."""
    model: str
    api_key: str | None = None
    conversations: int = 8
    streams: int = 1
    rate: float | None = None
    """Conversations a second."""
    chat: bool = True
    """Chat completions; otherwise text completions, which have neither a system prompt nor further turns."""
    turns: int = 1
    """Of each conversation; each takes the answers before it along."""
    prompt_words: int = 32
    """Of each user's turn. A word is about a token; `usage` says how many there were."""
    long_words: int = 512
    long_every: int = 0
    """Every so manieth conversation begins with `long_words` instead; 0: none does."""
    system_words: int = 0
    """Of the system prompt, which all conversations share; 0: there is none."""
    max_tokens: int = 64
    body: dict[str, Any] = {}
    """Further fields of each request."""
    timeout: float = 120.0
    """Seconds for one request."""
    seed: int = 0
    """Of the words and of the times; another seed shares no beginning of a prompt with this one."""


class Answer(msgspec.Struct, kw_only=True):
    """What became of one request; times in seconds since it was due."""

    conversation: int
    turn: int
    is_long: bool
    due: float
    """Since the run began."""
    late: float
    """How much later than due it was sent: the generator's fault, or the server's that took no connection."""
    outcome: str
    """`complete`, or what went wrong: `status 429`, `cut off`, `error event`, `timed out`, `no connection` …"""
    detail: str = ""
    finish_reason: str | None = None
    deltas: list[float] = []
    """When each event with text arrived."""
    ended: float = 0.0
    completion_tokens: int | None = None
    """As the server's usage counts them; None where it does not tell."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the answer came to its end."""
        return self.outcome == "complete"

    @property
    def tokens(self) -> int:
        """By usage where the server tells it; else a delta counts as one."""
        return len(self.deltas) if self.completion_tokens is None else self.completion_tokens


class Run(msgspec.Struct, kw_only=True):
    """All answers to one load, and what the generator itself used."""

    answers: list[Answer]
    seconds: float
    """From the first request to the end of the last answer."""
    processor_seconds: float
    """Of this process, meanwhile."""
