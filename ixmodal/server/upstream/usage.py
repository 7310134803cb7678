"""What a forwarded request cost, for the limits of its caller."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from ixmodal.engine.request import Usage
from ixmodal.server.rates import current_meter, spend
from ixmodal.server.upstream.relay import data_of

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


async def metered_events(blocks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same events; what they cost is charged when they end.

    That is what the stream tells; where it tells nothing, for the client did not ask for it or the stream was cut, each
    event counts as a token of the answer.
    """
    if current_meter.get() is None:
        async with aclosing(blocks):
            async for block in blocks:
                yield block
        return
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
        spend(blocks, told or Usage(completion_tokens=count))
