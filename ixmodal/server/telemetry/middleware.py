"""Around every request: its account is opened, kept and, when it is over, told."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ixmodal.server.telemetry.account import Account, open_account

Teller = Callable[[Account], None]
"""Told of each request that is over."""


class AccountMiddleware:
    """Opens an account for each request and hands it to all tellers at its end."""

    def __init__(self, app: ASGIApp, tellers: Sequence[Teller]) -> None:
        self.app = app
        self._tellers = tellers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request and tell of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = scope.get("state", {}).get("request_id", "")
        trace = Headers(scope=scope).get("traceparent", "")
        account = Account(request_id, scope["method"], scope["path"], trace)
        open_account(account)

        async def noted(message: MutableMapping[str, Any]) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                account.status = message["status"]
            elif not message.get("more_body", False):
                account.is_complete = True

        try:
            await self.app(scope, receive, noted)
        except TimeoutError:  # of a write: the client stopped reading
            account.error = account.error or "write_timeout"
            raise
        except Exception:
            account.error, account.status = account.error or "internal_error", account.status or 500
            raise
        finally:
            self._close(account, scope)

    def _close(self, account: Account, scope: Scope) -> None:
        account.ended = time.monotonic()
        route = scope.get("route")
        account.route = route.path if route else ""
        caller = scope.get("state", {}).get("caller")
        account.caller = caller.name if caller else ""
        for tell in self._tellers:
            tell(account)
