"""What a forwarded request cost, for the limits of its caller."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from ixmodal.engine.request import Usage
from ixmodal.server.rates import spend
from ixmodal.server.telemetry.account import note_usage
from ixmodal.server.upstream.relay import data_of

if TYPE_CHECKING:
    from ixmodal.upstreams.client import UpstreamClient

_USAGE = re.compile(rb'"usage":\s*\{')


def usage_in(body: bytes) -> Usage | None:
    """The usage that an answer, or a chunk of one, tells; None if it tells none."""
    if not _USAGE.search(body):
        return None
    try:
        return usage_of_wire(msgspec.json.decode(body)["usage"])
    except (msgspec.DecodeError, RecursionError, KeyError, TypeError, ValueError, AttributeError):
        return None


def usage_of_wire(usage: dict[str, Any]) -> Usage:
    """OpenAI's usage object. Raises `KeyError`, `TypeError`, `ValueError` or `AttributeError` for another."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return Usage(
        prompt_tokens=int(usage["prompt_tokens"]),
        completion_tokens=int(usage.get("completion_tokens") or 0),
        cached_tokens=int(cached),
        reasoning_tokens=int(thought),
    )


def charge(upstream: UpstreamClient, prompt: object, usage: Usage) -> None:
    """Count what an upstream spent: for its caller's limits, for the request's account, for the metrics."""
    upstream.prompt_tokens += usage.prompt_tokens
    upstream.cached_tokens += usage.cached_tokens
    upstream.tokens += usage.completion_tokens
    note_usage(usage)
    spend(prompt, usage)


async def metered_events(blocks: AsyncGenerator[bytes, None], upstream: UpstreamClient) -> AsyncGenerator[bytes, None]:
    """The same events; what they cost is charged when they end.

    That is what the stream tells; where it tells nothing, for the client did not ask for it or the stream was cut, each
    event counts as a token of the answer.
    """
    told: Usage | None = None
    count = 0
    try:
        async with aclosing(blocks):
            async for block in blocks:
                for data in data_of(block):
                    count += 1
                    told = usage_in(data) or told
                yield block
    finally:
        charge(upstream, blocks, told or Usage(completion_tokens=count))
