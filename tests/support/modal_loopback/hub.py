"""A model hub on loopback: `HF_ENDPOINT` may point at it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.modal_loopback.http_server import HttpServer
from tests.support.modal_loopback.service import LoopThread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(HttpServer):
    """Serves files by name, from every repository; `downloads` names those that were fetched."""

    def __init__(self, loop: LoopThread, files: Mapping[str, bytes]) -> None:
        self.downloads: list[str] = []
        self._files = files
        super().__init__(loop, Starlette(routes=[Route("/{owner}/{repo}/resolve/{revision}/{file}", self._resolve)]))

    async def _resolve(self, request: Request) -> Response:
        name = request.path_params["file"]
        if name not in self._files:
            return Response(status_code=404, headers={"X-Error-Code": "EntryNotFound"})
        if request.method == "GET":
            self.downloads.append(name)
        digest = hashlib.sha256(self._files[name]).hexdigest()
        return Response(self._files[name], headers={"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})
