"""Around every request: its id and time, a bounded body, and an end when the client hangs up."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ixmodal.server.errors import HTTPError
from ixmodal.server.passage import begin_passage
from ixmodal.server.telemetry.account import note_body
from ixmodal.spec import Limits

MAX_HEADERS = 100
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
"""What every response says to a browser, unless its route says otherwise."""
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class IdentityMiddleware:
    """Adds `x-request-id` (the client's, if it is harmless) and `openai-processing-ms` to every response.

    And what browsers should be told of an API's answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request and label its response."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SAFE_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        scope.setdefault("state", {})["request_id"] = request_id
        begin_passage(request_id, Headers(scope=scope))

        async def labelled(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers["x-request-id"] = request_id
                headers["openai-processing-ms"] = str(round(1000 * (time.perf_counter() - began)))
            await send(message)

        await self.app(scope, receive, labelled)


class GuardMiddleware:
    """Reads the body within its limits, then serves the request until it is done or its client is gone.

    The application runs as a task of its own and is cancelled on disconnect, wherever it is: in a queue, before a
    prompt is read, between tokens, in a blocked write.
    """

    def __init__(self, app: ASGIApp, limits: Limits, log_bytes: int = 0) -> None:
        """Guard an application; so many bytes of each body go to the request's log line."""
        self.app = app
        self._limits = limits
        self._log_bytes = log_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request. One of GET is served at once: a body has no meaning there, and is not waited for."""
        if scope["type"] == "http" and self._is_too_long(scope):
            await too_long(self._limits).response()(scope, receive, send)
            return
        if scope["type"] != "http" or scope["method"] in ("HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        if scope["method"] == "GET":
            await self._serve(b"", scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._limits.body_timeout):
                body = await self._read(scope, receive)
        except TimeoutError:
            message = f"The body did not arrive within {self._limits.body_timeout:g} seconds."
            error = HTTPError(408, message, code="body_timeout", headers={"connection": "close"})
            await error.response()(scope, receive, send)
            return
        except HTTPError as error:
            await error.response()(scope, receive, send)
            return
        if body is not None:
            await self._serve(body, scope, receive, send)

    def _is_too_long(self, scope: Scope) -> bool:
        """Whether the head is over its limits: a server other than our own may have let it in."""
        size = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
        size += sum(len(name) + len(value) + 4 for name, value in scope["headers"])  # 4: colon, space, line's end
        return size > self._limits.max_header_bytes or len(scope["headers"]) > MAX_HEADERS

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None if the client is gone. Raises `HTTPError` 413 as soon as it is too long."""
        limit = self._limits.max_body_bytes
        declared = Headers(scope=scope).get("content-length", "")
        received = int(declared) if declared.isdecimal() and int(declared) > limit else 0
        parts: list[bytes] = []
        while received <= limit:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            received += len(parts[-1])
            if received <= limit and not message.get("more_body", False):
                return b"".join(parts)
        text = f"The body is over the limit of {limit} bytes."
        raise HTTPError(413, text, code="request_too_large", headers={"connection": "close"})

    async def _serve(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        note_body(body, self._log_bytes)
        gone = asyncio.create_task(_disconnect(receive))
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await asyncio.shield(gone)

        serving = asyncio.ensure_future(self.app(scope, replay, send))
        try:
            await asyncio.wait([serving, gone], return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            gone.cancel()
            if not serving.done():
                serving.cancel()
                await asyncio.wait([serving])


def too_long(limits: Limits) -> HTTPError:
    """431: the head is over the limit."""
    text = f"The request's headers are over the limit of {limits.max_header_bytes} bytes."
    return HTTPError(431, text, code="headers_too_large", headers={"connection": "close"})


async def _disconnect(receive: Receive) -> Message:
    while (message := await receive())["type"] != "http.disconnect":
        pass
    return message
