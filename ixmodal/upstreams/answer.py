"""What an upstream answers: its status and headers at once, its body whole or as it comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager

import httpx

from ixmodal.errors import UpstreamError, UpstreamTimeoutError
from ixmodal.upstreams.headers import from_upstream

logger = logging.getLogger("ixmodal")


class Answer:
    """A response of an upstream. It holds a connection until it is closed."""

    def __init__(self, name: str, response: httpx.Response, held: AsyncExitStack, deadline: float) -> None:
        """Take over a response whose head has come.

        Args:
            name: the model that the upstream answers for.
            response: the response, its body not read.
            held: what to give back at the end.
            deadline: when all must have come, by the event loop's clock.
        """
        self.name = name
        self.status = response.status_code
        self.reason = response.reason_phrase
        self.headers = from_upstream(response.headers)
        self._response = response
        self._held = held
        self._deadline = deadline

    @property
    def is_stream(self) -> bool:
        """True if the body is a stream of events."""
        return self.status == 200 and self.headers.get("content-type", "").lower().startswith("text/event-stream")

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body's bytes as they come, then the end of the answer.

        Raises:
            UpstreamError: the connection broke.
            UpstreamTimeoutError: nothing came for too long, or the time of the request ran out.
        """
        async with aclosing(self), aclosing(self._response.aiter_raw()) as parts:  # type: ignore[type-var]  # httpx declares the generator as a bare iterator
            while True:
                with told(self.name, "broke off its answer"):
                    async with asyncio.timeout_at(self._deadline):
                        part = await anext(parts, None)
                if part is None:
                    return
                yield part

    async def read(self, limit: int) -> bytes:
        """The whole body, then the end of the answer. Raises what `chunks` raises, and if it is over `limit` bytes."""
        body = bytearray()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > limit:
                    raise UpstreamError(
                        f"The answer of the upstream of {self.name} is over {limit} bytes; ask for less, or raise "
                        "limits.max_answer_bytes."
                    )
        return bytes(body)

    async def aclose(self) -> None:
        """Give the connection back, or close it if the answer has not ended. Idempotent."""
        await self._held.aclose()


@contextmanager
def told(name: str, verb: str = "can't be reached") -> Iterator[None]:
    """Turn what goes wrong on the way into this server's errors, and log it."""
    try:
        yield
    except (httpx.TransportError, httpx.InvalidURL, TimeoutError) as error:
        failure = _failure(f"The upstream of {name}", verb, error)
        logger.warning("%s", failure.message)
        raise failure from None


def _failure(who: str, verb: str, error: Exception) -> UpstreamError:
    if isinstance(error, httpx.ConnectTimeout):
        return UpstreamTimeoutError(f"{who} can't be reached: no connection in time.")
    if isinstance(error, httpx.TimeoutException):
        return UpstreamTimeoutError(f"{who} did not answer in time: it was silent for too long.")
    if isinstance(error, TimeoutError):
        return UpstreamTimeoutError(f"{who} did not answer within the time that a request may take.")
    return UpstreamError(f"{who} {verb}: {error or 'the connection was lost'} ({type(error).__name__}).")
