"""How much a caller may use: requests and tokens a minute, requests at one time."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncGenerator, Callable, MutableMapping
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from ixmodal.engine.request import Output, Usage
from ixmodal.server.callers import Caller
from ixmodal.server.counters import SharedCounters, Window
from ixmodal.server.errors import HTTPError
from ixmodal.server.keyring import KeyRing

_READING = ("GET", "HEAD", "OPTIONS", "DELETE")
HEADERS = tuple(f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens"))


class Limiter:
    """Counts what callers use. Lives on one event loop."""

    def __init__(self, keys: KeyRing, url: str | None, name: str) -> None:
        """Compose the parts.

        Args:
            keys: the callers and their limits.
            url: a Redis that replicas share; None: each process counts for itself.
            name: the app's, so that apps may share a Redis.

        Raises:
            SpecError: the client library for Redis is not installed.
        """
        self._url = url
        self._prefix = f"ixmodal:{name}:limits"
        self._counters: SharedCounters | None = None
        if url or any(_counts(caller) for caller in keys.callers):
            self._counters = SharedCounters(url, self._prefix)
        self._running: Counter[str] = Counter()
        self._charges: set[asyncio.Task[None]] = set()

    @property
    def counters(self) -> SharedCounters:
        """The counters, opened on first use: a file of keys may bring the first limit while the server runs."""
        if self._counters is None:
            self._counters = SharedCounters(self._url, self._prefix)
        return self._counters

    async def admit(self, caller: Caller) -> Lease:
        """Count a request. Raises `HTTPError` 429 that says which limit is reached and when to come again."""
        lease = Lease(self._running, caller.name)
        try:
            self._check_running(caller)
            await self._check_tokens(caller)
            await self._count_request(caller)
        except BaseException:
            lease.release()
            raise
        return lease

    def _check_running(self, caller: Caller) -> None:
        limit, others = caller.limits.max_concurrent, self._running[caller.name] - 1
        if limit is not None and others >= limit:
            raise _refusal("requests", caller, f"concurrent requests: Limit {limit}, Used {others}, Requested 1", 1)

    async def _check_tokens(self, caller: Caller) -> None:
        limit = caller.limits.tokens_per_minute
        window = await self._tokens(caller.name, limit) if limit is not None else None
        if window is not None and not window.remaining:
            raise _refusal("tokens", caller, f"tokens per min (TPM): Limit {limit}, Used {limit}", window.reset)

    async def _count_request(self, caller: Caller) -> None:
        name, limit = caller.name, caller.limits.requests_per_minute
        if limit is not None and not await self.counters.ask(lambda counters: counters.add_request(name, limit)):
            reset = (await self._requests(name, limit)).reset
            text = f"requests per min (RPM): Limit {limit}, Used {limit}, Requested 1"
            raise _refusal("requests", caller, text, reset)

    async def _requests(self, name: str, limit: int) -> Window:
        return await self.counters.ask(lambda counters: counters.requests(name, limit))

    async def _tokens(self, name: str, limit: int) -> Window:
        return await self.counters.ask(lambda counters: counters.tokens(name, limit))

    def charge(self, caller: Caller, tokens: int) -> asyncio.Task[None] | None:
        """Count tokens, in the background; None if there is nothing to count."""
        limit = caller.limits.tokens_per_minute
        if limit is None or not tokens:
            return None
        task = asyncio.ensure_future(self._add(caller.name, limit, tokens))
        self._charges.add(task)
        task.add_done_callback(self._charges.discard)
        return task

    async def headers(self, caller: Caller) -> dict[str, str]:
        """What OpenAI's headers say of the caller's limits; of what is not limited they say nothing."""
        limits, name = caller.limits, caller.name
        shown: dict[str, str] = {}
        if (limit := limits.requests_per_minute) is not None:
            shown |= _shown("requests", await self._requests(name, limit))
        if (limit := limits.tokens_per_minute) is not None:
            shown |= _shown("tokens", await self._tokens(name, limit))
        return shown

    async def close(self) -> None:
        """Finish counting and close the connections."""
        if self._charges:
            await asyncio.wait(self._charges)
        if self._counters is not None:
            await self._counters.close()

    async def _add(self, name: str, limit: int, tokens: int) -> None:
        await self.counters.ask(lambda counters: counters.add_tokens(name, limit, tokens))


class Lease:
    """A request's place among those of its caller that run. What outlives the request takes a share of it."""

    def __init__(self, running: Counter[str], name: str) -> None:
        self._running = running
        self._name = name
        self._shares = 1
        running[name] += 1

    def share(self) -> Callable[[], None]:
        """Keep the place until what this returns is called, once."""
        self._shares += 1
        return self.release

    def release(self) -> None:
        """Give one share back."""
        self._shares -= 1
        if not self._shares:
            self._running[self._name] -= 1
            if not self._running[self._name]:
                del self._running[self._name]


class Meter:
    """What one request spends."""

    def __init__(self, limiter: Limiter, caller: Caller, lease: Lease) -> None:
        self.lease = lease
        self._limiter = limiter
        self._caller = caller
        self._prompts: list[object] = []
        self._charges: list[asyncio.Task[None]] = []

    def note(self, prompt: object, usage: Usage) -> None:
        """Charge a generation; a prompt, recognised by its identity, counts once however many choices it has."""
        is_new = all(prompt is not other for other in self._prompts)
        if is_new:
            self._prompts.append(prompt)
        task = self._limiter.charge(self._caller, usage.completion_tokens + (usage.prompt_tokens if is_new else 0))
        if task is not None:
            self._charges.append(task)

    async def settle(self) -> None:
        """Wait until what was noted is counted."""
        if self._charges:
            await asyncio.wait(self._charges)


current_meter: ContextVar[Meter | None] = ContextVar("current_meter", default=None)
"""The meter of the request that this task works on; tasks that a request starts inherit it."""


async def metered(prompt: object, outputs: AsyncGenerator[Output, None]) -> AsyncGenerator[Output, None]:
    """The same outputs; what they cost is charged when they end, however they end."""
    usage = Usage()
    try:
        async with aclosing(outputs):
            async for output in outputs:
                usage = output.usage
                yield output
    finally:
        spend(prompt, usage)


def spend(prompt: object, usage: Usage) -> None:
    """Charge the request that this task works on."""
    if meter := current_meter.get():
        meter.note(prompt, usage)


class RateMiddleware:
    """Refuses what is over its caller's limits with 429, and labels responses with what is left of them."""

    def __init__(self, app: ASGIApp, limiter: Limiter) -> None:
        self.app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request within its caller's limits."""
        caller = scope.get("state", {}).get("caller")
        if scope["type"] != "http" or caller is None:
            await self.app(scope, receive, send)
        elif _makes_work(scope):
            await self._serve(caller, scope, receive, send)
        else:
            await self.app(scope, receive, self._labelled(send, caller, None))

    async def _serve(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            lease = await self._limiter.admit(caller)
        except HTTPError as error:
            await error.response()(scope, receive, self._labelled(send, caller, None))
            return
        meter = Meter(self._limiter, caller, lease)
        current_meter.set(meter)
        try:
            await self.app(scope, receive, self._labelled(send, caller, meter))
        finally:
            lease.release()

    def _labelled(self, send: Send, caller: Caller, meter: Meter | None) -> Send:
        if not _counts(caller):
            return send

        async def labelled(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                if meter is not None:
                    await meter.settle()
                MutableHeaders(raw=message.setdefault("headers", [])).update(await self._limiter.headers(caller))
            await send(message)

        return labelled


def _makes_work(scope: Scope) -> bool:
    """Whether a request counts: one that only reads, or takes work away, does not."""
    return scope["method"] not in _READING and not scope["path"].endswith("/cancel")


def _counts(caller: Caller) -> bool:
    return bool(caller.limits.requests_per_minute or caller.limits.tokens_per_minute)


def _refusal(kind: str, caller: Caller, what: str, seconds: float) -> HTTPError:
    """OpenAI's words and type; its clients read the time from Retry-After."""
    after = max(1, math.ceil(seconds))
    text = f"Rate limit reached for {caller.name} on {what}. Please try again in {duration(after)}."
    return HTTPError(429, text, type=kind, code="rate_limit_exceeded", headers={"retry-after": str(after)})


def _shown(kind: str, window: Window) -> dict[str, str]:
    values = (str(window.limit), str(window.remaining), duration(window.reset))
    return {
        f"x-ratelimit-{what}-{kind}": value for what, value in zip(("limit", "remaining", "reset"), values, strict=True)
    }


def duration(seconds: float) -> str:
    """A time as OpenAI's headers write it, in whole seconds, rounded up: `0s`, `1s`, `6m0s`."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
