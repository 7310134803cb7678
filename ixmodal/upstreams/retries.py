"""When a request to an upstream is sent again, and after how long. Only before its first byte came back."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import re
from contextlib import suppress
from datetime import UTC, datetime

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    retry_if_result,
    wait_exponential,
    wait_random,
)

logger = logging.getLogger("ixmodal")

TRIES = 3
_TRANSIENT = frozenset({429, 502, 503, 504})
# A time-out of reading or writing has used up its time, and the upstream may be at work on the request.
_FINAL = (httpx.ReadTimeout, httpx.WriteTimeout)
_BACK_OFF = wait_exponential(multiplier=0.25, max=8) + wait_random(0, 0.25)


def retrying(name: str, deadline: float) -> AsyncRetrying:
    """Calls a coroutine function that returns an `httpx.Response`, up to `TRIES` times.

    Once no more tries are left, or the next would be after `deadline` (of the event loop's clock), the last response is
    returned, or the last error raised. A response that asks for a pause gets it; one with `x-should-retry: false` is
    not asked again.

    Args:
        name: the model, for the log.
        deadline: when the caller's request must be done.
    """

    def is_last(state: RetryCallState) -> bool:
        left = deadline - asyncio.get_running_loop().time()
        return state.attempt_number >= TRIES or state.upcoming_sleep >= left

    async def begin_again(state: RetryCallState) -> None:
        logger.warning("upstream %s: %s; once more in %.1f s", name, await _set_aside(state), state.upcoming_sleep)

    return AsyncRetrying(
        retry=retry_if_result(_is_transient) | retry_if_exception(_may_be_mended),
        wait=_pause,
        stop=is_last,
        before_sleep=begin_again,
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait; the header holds seconds or a date (RFC 9110, 10.2.3)."""
    text = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    with suppress(ValueError, TypeError):
        return max(0.0, (email.utils.parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    return None


def _is_transient(response: httpx.Response) -> bool:
    return response.status_code in _TRANSIENT and response.headers.get("x-should-retry", "").lower() != "false"


def _may_be_mended(error: BaseException) -> bool:
    return isinstance(error, httpx.TransportError) and not isinstance(
        error, (*_FINAL, httpx.UnsupportedProtocol, httpx.ProxyError)
    )


def _pause(state: RetryCallState) -> float:
    outcome = state.outcome
    asked = None if outcome is None or outcome.failed else retry_after(outcome.result())
    return _BACK_OFF(state) if asked is None else asked


async def _set_aside(state: RetryCallState) -> str:
    """Give a refused response's connection back. Returns what went wrong."""
    assert state.outcome is not None
    if state.outcome.failed:
        error = state.outcome.exception()
        return f"{error or 'no answer'} ({type(error).__name__})"
    response: httpx.Response = state.outcome.result()
    await response.aclose()
    return f"it answers {response.status_code} {response.reason_phrase}".rstrip()
