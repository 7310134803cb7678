"""Asks one upstream: a bounded pool of connections, the upstream's key, patience before the first byte."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack

import httpx

from ixmodal.engine.admission import Admission
from ixmodal.errors import SpecError, UpstreamError
from ixmodal.spec import Limits, Model
from ixmodal.upstreams.answer import Answer, told
from ixmodal.upstreams.headers import to_upstream
from ixmodal.upstreams.question import Question
from ixmodal.upstreams.retries import retrying

_VERSION_PATH = "/v1"
_MAX_REDIRECTS = 20


class UpstreamClient:
    """The upstream of one model. All calls belong to one event loop."""

    def __init__(self, model: Model, limits: Limits, max_queued: int, environ: Mapping[str, str] | None = None) -> None:
        """Compose the parts; nothing is sent yet. Raises `SpecError` if the key is not where the spec says."""
        assert model.upstream is not None
        self.name = model.id
        self.their_model = model.upstream.model or model.id
        self.limits = limits
        self.admission = Admission(model.upstream.max_connections, max_queued, limits.queue_timeout)
        self.is_reachable = True
        self.requests = 0
        self.prompt_tokens = self.cached_tokens = self.tokens = 0
        """What the upstream told that it spent."""
        self._upstream = model.upstream
        self._key = resolve_key(model, os.environ if environ is None else environ)
        self._opened: httpx.AsyncClient | None = None

    async def ask(self, question: Question) -> Answer:
        """Send a request; the answer's head has come when this returns, and the caller closes the answer.

        Whatever status the upstream answers with is an answer. One that says to try again, and a connection that fails,
        is tried again (see `retries`), within `limits.request_timeout`.

        Raises:
            BusyError: too many requests are on their way already.
            UpstreamError: it can't be reached, or redirects elsewhere.
            UpstreamTimeoutError: it does not answer in time.
        """
        self.requests += 1
        deadline = asyncio.get_running_loop().time() + self.limits.request_timeout
        async with AsyncExitStack() as held:
            await held.enter_async_context(self.admission.slot())
            try:
                with told(self.name):
                    async with asyncio.timeout_at(deadline):
                        response: httpx.Response = await retrying(self.name, deadline)(self._send, question)
            except UpstreamError:
                self.is_reachable = False
                raise
            held.push_async_callback(response.aclose)
            self.is_reachable = True
            return Answer(self.name, response, held.pop_all(), deadline)

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        if self._opened is not None:
            await self._opened.aclose()

    async def _send(self, question: Question) -> httpx.Response:
        http = self._http()
        headers = to_upstream(self._key, question.request_id, question.hops, has_body=question.body is not None)
        method = "GET" if question.body is None else "POST"
        request = http.build_request(
            method, address(self._upstream.url, question.path), content=question.body, headers=headers
        )
        for _ in range(_MAX_REDIRECTS):
            response = await http.send(request, stream=True)
            if response.next_request is None:
                return response
            # A platform may have a long request asked for anew; it never leads to another host, nor may the key.
            await response.aclose()
            target = response.next_request
            if _origin(target.url) != _origin(request.url):
                raise UpstreamError(
                    f"The upstream of {self.name} redirects to another host; write the right one into the spec."
                )
            request = target
        raise UpstreamError(f"The upstream of {self.name} redirects in circles; correct its URL in the spec.")

    def _http(self) -> httpx.AsyncClient:
        # Made on first use: reading the certificates would delay every start.
        if self._opened is None:
            limits = self.limits
            read, connect = limits.upstream_read_timeout, limits.upstream_connect_timeout
            most = self._upstream.max_connections
            self._opened = httpx.AsyncClient(
                timeout=httpx.Timeout(read, connect=connect, pool=connect),
                limits=httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=30),
                follow_redirects=False,
            )
        return self._opened


def address(base: str, path: str) -> str:
    """The URL of a route: what this server has below /v1 is below the base URL, the rest is beside it."""
    if path.startswith(f"{_VERSION_PATH}/"):
        return base + path.removeprefix(_VERSION_PATH)
    return base.removesuffix(_VERSION_PATH) + path


def resolve_key(model: Model, environ: Mapping[str, str]) -> str | None:
    """The key to send. Raises `SpecError` that names the variable in which there is none."""
    upstream = model.upstream
    if upstream is None:
        return None
    if upstream.variable is None:
        return upstream.key
    key = environ.get(upstream.variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        problem = f"{upstream.key}: set the environment variable {upstream.variable} to the key of its upstream"
        raise SpecError(f"the model {model.id}", [problem])
    return key


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
