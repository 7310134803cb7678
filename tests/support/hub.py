"""Servers of files on loopback: `Files` knows ranges, `Hub` imitates as much of a model hub as a download needs."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit

COMMIT = "52e7645ba7c309695bec7ac98f4f005b139cf465"


@dataclass
class Request:
    """One request as it arrived; header names are lower-case."""

    method: str
    path: str
    headers: dict[str, str]


class Files:
    """Serves `contents` by path, with strong ETags, Range and If-Range."""

    pause = 0.0
    """Seconds between two pieces of 64 KiB."""
    cut_after: int | None = None
    """Bytes of a body after which the connection is dropped."""
    tells_length = True
    """Whether answers say how long they are; else the end of the connection is the end of the body."""
    sent: int
    """Bytes of bodies that went out."""

    def __init__(self, contents: dict[str, bytes] | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.contents = contents or {}
        self.requests: list[Request] = []
        self.sent = 0
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = False
        # What the system takes from a sender ahead of the receiver is lost when the receiver dies, and counts as sent.
        self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 131_072)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def asked(self, method: str, prefix: str = "/") -> list[Request]:
        """The requests with this method whose path starts so."""
        return [r for r in self.requests if r.method == method and r.path.startswith(prefix)]

    def respond(self, handler: _Handler, path: str) -> None:
        """Answer a GET or HEAD of `path`."""
        if path in self.contents:
            handler.send_content(self.contents[path])
        else:
            handler.send_head(404, {"Content-Length": "0"})


@dataclass
class Repository:
    """A repository of the hub. `revisions` all lead to the one commit."""

    files: dict[str, bytes]
    revisions: tuple[str, ...] = ("main", COMMIT)
    gated: bool = False
    token: str | None = None
    sums: dict[str, str] = field(default_factory=dict)


class Hub(Files):
    """`/<owner>/<repo>/resolve/<revision>/<file>` redirects to a signed address on another host, as the hub does."""

    SIGNATURE = "s3cr3t-signature"
    failing: int | None = None
    """Status with which everything is answered."""

    def __init__(self, repositories: dict[str, Repository]) -> None:
        super().__init__()
        self.repositories = repositories

    def respond(self, handler: _Handler, path: str) -> None:
        """Answer as the hub, or as the storage behind it."""
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if self.failing:
            handler.send_head(self.failing, {"Content-Length": "0"})
        elif path.startswith("/storage/"):
            super().respond(handler, path)
        elif match:
            handler.send_head(*self._resolve(handler, *(unquote(part) for part in match.groups())))
        else:
            handler.send_head(404, {"Content-Length": "0"})

    def _resolve(self, handler: _Handler, name: str, revision: str, file: str) -> tuple[int, dict[str, str]]:
        repository = self.repositories.get(name)
        if repository is None:
            return 401, {"X-Error-Code": "RepoNotFound", "Content-Length": "0"}
        token = (handler.headers.get("Authorization") or "").removeprefix("Bearer ")
        if repository.gated and token != repository.token:
            return 401 if not token else 403, {"X-Error-Code": "GatedRepo", "Content-Length": "0"}
        if revision not in repository.revisions:
            return 404, {"X-Error-Code": "RevisionNotFound", "Content-Length": "0"}
        if file not in repository.files:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT, "Content-Length": "0"}
        content = repository.files[file]
        sha256 = repository.sums.get(file) or hashlib.sha256(content).hexdigest()
        self.contents[f"/storage/{sha256}"] = content
        return 302, {
            "Location": f"http://localhost:{self.port}/storage/{sha256}?signature={self.SIGNATURE}",
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(len(content)),
            "X-Linked-ETag": f'"{sha256}"',
            "ETag": '"0123456789abcdef"',
            "Content-Length": "0",
        }


class _Handler(BaseHTTPRequestHandler):
    owner: ClassVar[Files]
    protocol_version = "HTTP/1.1"
    timeout = 5

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.owner.requests.append(Request(self.command, self.path, headers))
        self.close_connection = True
        self.owner.respond(self, path)

    do_HEAD = do_GET  # noqa: N815  # the name that the library looks for

    def send_head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Connection": "close"}).items():
            self.send_header(name, value)
        self.end_headers()

    def send_content(self, content: bytes) -> None:
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        start = self._start() if self.headers.get("If-Range", etag) == etag else 0
        if start and start >= len(content):
            return self.send_head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        if self.owner.tells_length:
            headers["Content-Length"] = str(len(content) - start)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send_head(206 if start else 200, headers)
        if self.command == "GET":
            self._send_body(content[start:])
        return None

    def _start(self) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(match[1]) if match else 0

    def _send_body(self, body: bytes) -> None:
        body = body[: self.owner.cut_after]
        try:
            for offset in range(0, len(body), 65_536):
                self.owner.sent += self.wfile.write(body[offset : offset + 65_536])
                time.sleep(self.owner.pause)
        except OSError:
            self.log_error("the client has gone")

    def log_message(self, format: str, *args: object) -> None:
        pass
