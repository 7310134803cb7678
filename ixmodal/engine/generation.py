"""One request before an engine: when what happened to it, and how far it is."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import Literal, Protocol

from ixmodal.engine.request import FinishReason, SamplingParams

TOKEN_BOUNDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds, in seconds, of the classes in which times between tokens are counted; one more class is above them."""
Outcome = FinishReason | Literal["embedded", "cancelled", "failed"]


class Generation:
    """Times are of `time.monotonic()`, seconds; None until they come. An embedding has no tokens of an answer.

    A token costs it a look at the clock and a count: the times between tokens are kept as classes.
    """

    def __init__(self, sampling: SamplingParams | None = None) -> None:
        """The request has come; `sampling` is None for an embedding."""
        self.sampling = sampling
        self.began = time.monotonic()
        self.sent: float | None = None
        """When it had a slot and an engine that is ready."""
        self.first_token: float | None = None
        self.last_token: float | None = None
        self.ended: float | None = None
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.gaps = [0] * (len(TOKEN_BOUNDS) + 1)
        self.outcome: Outcome | None = None
        self.owner = ""
        """The id of the request that it belongs to, if an observer told."""

    def send(self) -> None:
        """It goes to the engine, perhaps once more: what an engine that died made of it is forgotten."""
        self.sent = time.monotonic()
        self.first_token = self.last_token = None
        self.prompt_tokens = self.cached_tokens = self.completion_tokens = 0
        self.outcome = self.ended = None
        self.gaps = [0] * len(self.gaps)

    def accept(self, prompt_tokens: int, cached_tokens: int) -> None:
        """The engine took the prompt."""
        self.prompt_tokens, self.cached_tokens = prompt_tokens, cached_tokens

    def advance(self, completion_tokens: int) -> None:
        """The engine made tokens; so many there are now."""
        made = completion_tokens - self.completion_tokens
        if made <= 0:
            return
        now = time.monotonic()
        if self.last_token is None:
            self.first_token = now
        else:
            # Tokens that come together share the time since the last one.
            self.gaps[bisect_left(TOKEN_BOUNDS, (now - self.last_token) / made)] += made
        self.last_token = now
        self.completion_tokens = completion_tokens

    def end(self, outcome: Outcome) -> None:
        """It is over; what is said first counts."""
        if self.outcome is None:
            self.ended = time.monotonic()
            self.outcome = outcome

    @property
    def tokens_held(self) -> int:
        """Positions of its context that are in use, at most."""
        return self.prompt_tokens + self.completion_tokens


class Observer(Protocol):
    """Is told of generations, in the task of the request that they belong to."""

    def begun(self, generation: Generation) -> None:
        """One has come."""

    def ended(self, generation: Generation) -> None:
        """One is over, however it ended."""
