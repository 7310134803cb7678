"""Who may come in: all but health and the pages needs a key once the spec declares any, admin routes an admin's."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ixmodal.server.callers import NOBODY, Caller, set_caller
from ixmodal.server.errors import HTTPError
from ixmodal.server.keyring import KeyRing

PUBLIC_PATHS = frozenset({"/health", "/healthz", "/readyz"})
_PROXY_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


class KeyMiddleware:
    """Answers 401 unless `Authorization: Bearer KEY` holds one of the keys; notes whose key it is."""

    def __init__(
        self,
        app: ASGIApp,
        keys: KeyRing,
        is_page: Callable[[str | None, str], bool] | None = None,
        public: frozenset[str] = frozenset(),
    ) -> None:
        """Guard an application.

        Args:
            app: what is guarded.
            keys: the accepted keys.
            is_page: tells by method and path what a browser must be able to load before its user can give a key.
            public: paths beside those of health that need no key.
        """
        self.app = app
        self._public = PUBLIC_PATHS | public
        self._keys = keys
        self._is_page = is_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through or refuse it."""
        if scope["type"] not in ("http", "websocket") or self._is_public(scope):
            await self.app(scope, receive, send)
            return
        caller = self._judge(Headers(scope=scope).get("authorization"))
        if isinstance(caller, Caller):
            scope.setdefault("state", {})["caller"] = caller
            set_caller(caller)
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "API key needed"})
        else:
            await caller.response()(scope, receive, send)

    def _is_public(self, scope: Scope) -> bool:
        path = scope["path"]
        return path in self._public or (self._is_page is not None and self._is_page(scope.get("method"), path))

    def _judge(self, header: str | None) -> Caller | HTTPError:
        if self._keys.is_open:
            return self._keys.anonymous
        headers = {"www-authenticate": "Bearer"}
        if not header:
            message = "You didn't provide an API key. Send it as a header: Authorization: Bearer YOUR_KEY"
            return HTTPError(401, message, type="authentication_error", code="missing_api_key", headers=headers)
        scheme, _, key = header.partition(" ")
        caller = self._keys.find(key.strip().encode("latin-1", "replace"))
        if scheme.lower() == "bearer" and caller is not None:
            return caller
        message = "Incorrect API key provided."
        return HTTPError(401, message, type="authentication_error", code="invalid_api_key", headers=headers)


def caller_of(request: HTTPConnection) -> Caller:
    """Who sent the request. Of the public paths, nobody is known."""
    return cast("Caller", request.scope.get("state", {}).get("caller", NOBODY))


def require_admin(request: Request) -> None:
    """For routes that change the server: let an admin's key pass.

    Without any admin key in the spec, who sits at this machine is the admin: the connection comes from loopback, no
    proxy left its mark, and neither the host that was asked for nor the page that asked is another's (a web page can
    send a browser to 127.0.0.1 as well).

    Raises:
        HTTPError: 403, saying which of the two is missing.
    """
    if is_admin(request):
        return
    keys: KeyRing = request.app.state.keys
    if keys.has_admin:
        text = "This route needs an admin key: one whose entry in endpoint.keys says admin = true."
    else:
        text = (
            "This route is open to this machine alone until the spec declares an admin key: "
            "an entry of endpoint.keys with admin = true."
        )
    raise HTTPError(403, text, type="permission_error", code="admin_key_required")


def is_admin(request: Request) -> bool:
    """Whether `require_admin` would let a request pass."""
    keys: KeyRing = request.app.state.keys
    return caller_of(request).is_admin or (not keys.has_admin and is_local(request))


def is_local(request: HTTPConnection) -> bool:
    """Whether a request was sent from this machine, to this machine, by no stranger's page and through no proxy.

    A forwarder on this machine that adds no header (an SSH tunnel, a bare TCP proxy) can't be told from a local
    client: where one stands before the server, declare an admin key.
    """
    ends = [request.scope.get("client"), request.scope.get("server")]
    if not all(end and _is_loopback(end[0]) for end in ends):
        return False
    headers = request.headers
    if any(name in headers for name in _PROXY_HEADERS):
        return False
    if not _is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or ""):
        return False
    origin = headers.get("origin")
    return origin is None or _is_loopback(urlsplit(origin).hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
