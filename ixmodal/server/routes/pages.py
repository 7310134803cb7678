"""The chat page at `/`, the status page at `/status`, and their files below `/web/`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ixmodal.server.errors import HTTPError
from ixmodal.server.openapi.operation import Described, Operation, Text

FOLDER = Path(__file__).parent.parent / "web"
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",  # markup reaches the page through DOMPurify's policy or not at all
        "trusted-types dompurify",
    ]
)
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PREFIX = "/web/"


@dataclass(frozen=True)
class WebFile:
    """A file as it is sent; `etag` changes with its content."""

    content: bytes
    media_type: str

    @property
    def etag(self) -> str:
        """A strong entity tag (RFC 9110, section 8.8.3)."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    def answer(self, request: Request) -> Response:
        """The file, or 304 where the browser has it. Browsers keep it and ask each time, so that releases never mix."""
        headers = {
            "etag": self.etag,
            "cache-control": "no-cache",
            "content-security-policy": CONTENT_SECURITY_POLICY,
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
        }
        known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
        if self.etag in known:
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


@cache
def web_files() -> dict[str, WebFile]:
    """All that is served, by path below `/web/`: a request's path is looked up here and never opens a file."""
    found = [path for path in FOLDER.rglob("*") if path.suffix in _MEDIA_TYPES and path.is_file()]
    return {
        path.relative_to(FOLDER).as_posix(): WebFile(path.read_bytes(), _MEDIA_TYPES[path.suffix]) for path in found
    }


@cache
def _page(name: str) -> WebFile:
    return WebFile((FOLDER / name).read_bytes(), "text/html; charset=utf-8")


async def chat(request: Request) -> Response:
    """The chat page."""
    return _page("chat.html").answer(request)


async def status(request: Request) -> Response:
    """The status page."""
    return _page("status.html").answer(request)


async def web_file(request: Request) -> Response:
    """A script, style sheet or image of the pages."""
    found = web_files().get(request.path_params["file"])
    if found is None:
        raise HTTPError(404, "The pages have no file of that name.", code="unknown_url")
    return found.answer(request)


def is_public(method: str | None, path: str) -> bool:
    """Whether a request is for what every visitor may read: the pages hold nothing but themselves."""
    return method in ("GET", "HEAD") and (path in ("/", "/status") or path.startswith(_PREFIX))


_HTML = Text(media_types=("text/html",))
_FILE = Text(media_types=("text/css", "text/javascript", "image/svg+xml"))
_HEADERS = {"etag": "Changes with the content; `If-None-Match` gets a 304."}
ROUTES = [
    Described(
        "/",
        chat,
        Operation("getChatPage", "GET", "A page to chat.", _HTML, others={304: None}, headers=_HEADERS, public=True),
    ),
    Described(
        "/status",
        status,
        Operation(
            "getStatusPage",
            "GET",
            "A page of models, slots, queue and latencies.",
            _HTML,
            others={304: None},
            headers=_HEADERS,
            public=True,
        ),
    ),
    Described(
        f"{_PREFIX}{{file:path}}",
        web_file,
        Operation(
            "getPageFile",
            "GET",
            "A script, style sheet or image of the pages.",
            _FILE,
            errors=(404,),
            others={304: None},
            headers=_HEADERS,
            public=True,
        ),
    ),
]
