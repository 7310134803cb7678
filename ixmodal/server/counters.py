"""Counts of requests and tokens by caller, by the `limits` library: in memory, or in a Redis that replicas share."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ixmodal.errors import SpecError

if TYPE_CHECKING:
    from limits import RateLimitItemPerMinute
    from limits.aio.storage import Storage
    from redis.asyncio import ConnectionPool

logger = logging.getLogger("ixmodal.server")
SHARED_TIMEOUT = 0.5
"""Seconds that Redis may take to answer."""
SHARED_RETRY = 5.0
"""Seconds during which a Redis that failed is not asked again."""
_JUMP = 5.0
"""Seconds by which the wall clock may be off before counts that go by it are dropped."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class Window:
    """What is left of a limit a minute: `remaining` of `limit`, more of it in `reset` seconds."""

    limit: int
    remaining: int
    reset: float


class Counters:
    """Counts in one storage. Requests are limited in any 60 seconds, tokens in a minute from the first on.

    The difference: of tokens one learns only afterwards how many they were, so that they must be counted even where
    they are too many, which a moving window does not do.
    """

    def __init__(self, storage: Storage) -> None:
        # Imported here: a third of a second that a server without limits need not pay.
        from limits.aio.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

        self._requests = MovingWindowRateLimiter(storage)
        self._tokens = FixedWindowRateLimiter(storage)

    async def add_request(self, name: str, limit: int) -> bool:
        """Count a request, unless there were `limit` of them in the last minute: then False."""
        return await self._requests.hit(_item(limit), "requests", name)

    async def add_tokens(self, name: str, limit: int, tokens: int) -> None:
        """Count tokens."""
        await self._tokens.hit(_item(limit), "tokens", name, cost=tokens)

    async def requests(self, name: str, limit: int) -> Window:
        """What is left of the requests."""
        reset, remaining = await self._requests.get_window_stats(_item(limit), "requests", name)
        return Window(limit, max(0, remaining), max(0.0, reset - time.time()) if remaining < limit else 0.0)

    async def tokens(self, name: str, limit: int) -> Window:
        """What is left of the tokens."""
        reset, remaining = await self._tokens.get_window_stats(_item(limit), "tokens", name)
        return Window(limit, max(0, remaining), max(0.0, reset - time.time()) if remaining < limit else 0.0)


class SharedCounters:
    """Counters in Redis; while it can't be reached, counters of this process: limits then hold for each process."""

    def __init__(self, url: str | None, prefix: str) -> None:
        """Connect on first use.

        Args:
            url: of Redis; None: count in this process.
            prefix: what all keys begin with.

        Raises:
            SpecError: the client library for Redis is not installed.
        """
        self._local, self._clock = _local_counters(), _clock_offset()
        self._pool = _pool(url) if url else None
        self._shared = Counters(_redis(url, self._pool, prefix)) if url and self._pool else None
        self._down_until = 0.0
        self._is_down = False

    async def ask(self, question: Callable[[Counters], Awaitable[Found]]) -> Found:
        """Put a question to the shared counters, or else to the local ones."""
        if self._shared is not None and time.monotonic() >= self._down_until:
            try:
                async with asyncio.timeout(SHARED_TIMEOUT):
                    found = await question(self._shared)
            except Exception as error:  # noqa: BLE001  # whatever is wrong with it, requests are answered
                self._note_down(error)
            else:
                self._note_up()
                return found
        if abs(_clock_offset() - self._clock) > _JUMP:  # windows that end in an hour, or in the past, mean nothing
            logger.warning("the clock was set: rate limits begin anew")
            self._local, self._clock = _local_counters(), _clock_offset()
        return await question(self._local)

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.aclose()

    def _note_down(self, error: Exception) -> None:
        self._down_until = time.monotonic() + SHARED_RETRY
        if not self._is_down:
            reason = str(error) or type(error).__name__
            logger.warning("Redis can't be asked (%s): until it can, each process counts for itself", reason)
        self._is_down = True

    def _note_up(self) -> None:
        if self._is_down:
            logger.info("Redis answers again: rate limits are shared")
        self._is_down = False


def _local_counters() -> Counters:
    from limits.aio.storage import MemoryStorage

    return Counters(MemoryStorage())


def _clock_offset() -> float:
    """Changes only when somebody sets the wall clock, by which the library counts."""
    return time.time() - time.monotonic()


def _pool(url: str) -> ConnectionPool:
    try:
        from redis.asyncio import ConnectionPool
    except ImportError:
        problem = "state.url: the client for Redis is not installed; pip install 'ixmodal[redis]'"
        raise SpecError("the spec", [problem]) from None
    return ConnectionPool.from_url(url, socket_timeout=SHARED_TIMEOUT, socket_connect_timeout=SHARED_TIMEOUT)


def _redis(url: str, pool: ConnectionPool, prefix: str) -> Storage:
    from limits.aio.storage import RedisStorage

    # The pool is given, so that it can be closed; the library's types know of plain options only.
    options: dict[str, Any] = {"connection_pool": pool}
    return RedisStorage(f"async+{url}", implementation="redispy", key_prefix=prefix, **options)


def _item(limit: int) -> RateLimitItemPerMinute:
    from limits import RateLimitItemPerMinute

    return RateLimitItemPerMinute(limit)
