"""The declaration of custom endpoints: routes with one fixed answer."""

from __future__ import annotations

import json
import re
from typing import Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from ixmodal.spec.declared import Declared

MAX_BODY_BYTES = 1_048_576
NO_CONTENT = (204, 205, 304)
"""Statuses whose responses have no body."""
_PATH = re.compile(r"/|(/[A-Za-z0-9._~:@-]+)+")
_HEADER_VALUE = re.compile(r"[!-~]([ -~]{0,1022}[!-~])?")
_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-language",
    "deprecation",
    "etag",
    "expires",
    "last-modified",
    "link",
    "location",
    "retry-after",
    "sunset",
    "vary",
)
_OWN_HEADER = re.compile(r"x-(?!request-id$|should-retry$|accel-|sendfile|forwarded-)[a-z0-9-]{1,62}")
"""What a `x-` header may be called: not what this server sends itself, nor what proxies act upon."""


class CustomEndpoint(Declared):
    """A route that answers with a fixed JSON body. API keys and limits hold for it as for all others."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(
        "GET", description="The HTTP method; GET answers HEAD as well."
    )
    path: str = Field(max_length=256, description="Absolute path without parameters, for example /v1/about.")
    status: int = Field(200, ge=200, le=599, description="The HTTP status.")
    body: JsonValue = Field(None, description="The response's JSON; none for 204, 205 and 304.")
    headers: dict[str, str] = Field(
        default_factory=dict,
        max_length=32,
        description="Response headers: " + ", ".join(_HEADERS) + " and x- headers of your own.",
    )

    @field_validator("path")
    @classmethod
    def _plain(cls, path: str) -> str:
        if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
            raise ValueError(
                "write an absolute path of letters, digits and -._~:@, without parameters, query, . or .. "
                "and without a / at its end, for example /v1/about"
            )
        return path

    @field_validator("body")
    @classmethod
    def _encodable(cls, body: JsonValue) -> JsonValue:
        if len(_encode(body)) > MAX_BODY_BYTES:
            raise ValueError(f"write a body of at most {MAX_BODY_BYTES} bytes")
        return body

    @field_validator("headers")
    @classmethod
    def _safe(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if name.lower() not in _HEADERS and not _OWN_HEADER.fullmatch(name.lower()):
                raise ValueError(f"{name!r:.60} can't be set; write one of {', '.join(_HEADERS)}, or x-…")
            if not _HEADER_VALUE.fullmatch(value):
                raise ValueError(f"the value of {name} must be printable ASCII, at most 1024 characters")
        lowered = {name.lower(): value for name, value in headers.items()}
        if len(lowered) < len(headers):
            raise ValueError("a header is there twice; case makes no difference to its name")
        return lowered

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.status in NO_CONTENT and self.body is not None:
            raise ValueError(f"a response of status {self.status} has no body; leave `body` out")
        return self

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        return b"" if self.status in NO_CONTENT else _encode(self.body)


def _encode(body: JsonValue) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
