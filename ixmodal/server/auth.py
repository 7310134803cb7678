"""API keys: every path but health needs one, once the spec declares any."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ixmodal.errors import SpecError
from ixmodal.server.errors import HTTPError
from ixmodal.spec import SECRET_PREFIX, Endpoint
from ixmodal.spec.sources import KEYS_VARIABLE

PUBLIC_PATHS = frozenset({"/health", "/healthz", "/readyz"})
_ENV_PREFIX = "env:"


def resolve_keys(endpoint: Endpoint, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The keys that a spec declares, read from where it says.

    Raises:
        SpecError: a named variable or secret holds no key; the server must not open up for lack of one.
    """
    environ = os.environ if environ is None else environ
    keys: list[str] = []
    for declared in endpoint.api_keys:
        if declared.startswith(SECRET_PREFIX):
            keys += _from_variable(KEYS_VARIABLE, environ, declared)
        elif declared.startswith(_ENV_PREFIX):
            keys += _from_variable(declared.removeprefix(_ENV_PREFIX), environ, declared)
        else:
            keys.append(declared)
    return tuple(dict.fromkeys(keys))


def _from_variable(name: str, environ: Mapping[str, str], declared: str) -> list[str]:
    keys = [key.strip() for key in environ.get(name, "").split(",") if key.strip()]
    if not keys:
        raise SpecError("endpoint.api_keys", [f"{declared}: set the environment variable {name} to one or more keys"])
    return keys


class KeyMiddleware:
    """Answers 401 unless `Authorization: Bearer KEY` holds one of the keys."""

    def __init__(self, app: ASGIApp, keys: tuple[str, ...]) -> None:
        self.app = app
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through or refuse it."""
        if scope["type"] != "http" or scope["path"] in PUBLIC_PATHS:
            await self.app(scope, receive, send)
            return
        error = self._judge(Headers(scope=scope).get("authorization"))
        await (error.response() if error else self.app)(scope, receive, send)

    def _judge(self, header: str | None) -> HTTPError | None:
        headers = {"www-authenticate": "Bearer"}
        if not header:
            message = "You didn't provide an API key. Send it as a header: Authorization: Bearer YOUR_KEY"
            return HTTPError(401, message, type="authentication_error", code="missing_api_key", headers=headers)
        scheme, _, key = header.partition(" ")
        digest = _digest(key.strip().encode("latin-1", "replace"))
        # Compare with every key, digest against digest: neither which key nor how much of it fits shows in the time.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        if scheme.lower() == "bearer" and any(matches):
            return None
        message = "Incorrect API key provided."
        return HTTPError(401, message, type="authentication_error", code="invalid_api_key", headers=headers)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
