"""News of models: who listens hears each change of a state, and how far a download is."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

_MAX_WAITING = 256
"""News that a slow listener may have before it; then the oldest is forgotten."""


@dataclass(frozen=True)
class Progress:
    """How far a download is: bytes that are there, and in all (None: unknown)."""

    done: int
    total: int | None

    @property
    def percent(self) -> int | None:
        """0 to 100; None while the size is unknown."""
        return min(100, 100 * self.done // self.total) if self.total else None


@dataclass(frozen=True)
class ModelNews:
    """A model's state now, why it failed if it did, and how far its download is."""

    model: str
    state: str
    reason: str | None = None
    progress: Progress | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields, as they are sent."""
        shown: dict[str, Any] = {"model": self.model, "state": self.state, "reason": self.reason, "progress": None}
        if self.progress:
            done, total = self.progress.done, self.progress.total
            shown["progress"] = {"bytes": done, "total_bytes": total, "percent": self.progress.percent}
        return shown


class Listener:
    """Hears all news from now on; if it listens too slowly, only the latest."""

    def __init__(self) -> None:
        self._heard: deque[ModelNews] = deque(maxlen=_MAX_WAITING)
        self._arrived = asyncio.Event()

    def put(self, news: ModelNews) -> None:
        """Note it."""
        self._heard.append(news)
        self._arrived.set()

    async def wait(self, seconds: float) -> list[ModelNews]:
        """What there is to hear; nothing if nothing happens for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        heard = list(self._heard)
        self._heard.clear()
        self._arrived.clear()
        return heard


class NewsDesk:
    """Hands each piece of news to all who listen. All calls belong to one event loop."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def tell(self, news: ModelNews) -> None:
        """Hand it out; nobody is waited for."""
        for listener in self._listeners:
            listener.put(news)

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        """All news from now on, until the block ends."""
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
