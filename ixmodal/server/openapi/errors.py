"""The errors that operations declare: what each status means, and the headers that come along."""

from __future__ import annotations

from typing import Any

from ixmodal.server.openapi.operation import Operation

Headers = dict[str, tuple[str, dict[str, Any], bool]]
"""Name → description, schema, whether it is always there."""

STATUSES = {
    400: "The request can't be honoured; `param` names the field.",
    401: "The API key is missing or wrong.",
    403: "The API key may not do this.",
    404: "There is no model, or nothing stored, of that name.",
    408: "The body did not arrive in time.",
    409: "It is too late for that.",
    413: "The body is too long.",
    429: "Busy, or over a limit: wait for Retry-After.",
    500: "The server or its engine failed; its log says why.",
    502: "The server that answers for the model can't be reached, or broke off.",
    503: "Not ready, stopping, or unavailable for a while.",
    504: "The request took longer than it may.",
    508: "The servers that answer for each other's models lead in a circle.",
}
ALWAYS: Headers = {
    "x-request-id": ("The request's id: the client's, if it sent a harmless one.", {"type": "string"}, True),
    "openai-processing-ms": ("Milliseconds until the answer began.", {"type": "string", "pattern": "^[0-9]+$"}, True),
    **{
        f"x-ratelimit-{what}-{of}": (f"{meaning} of the caller's {of} a minute, where they are limited.", schema, False)
        for of in ("requests", "tokens")
        for what, meaning, schema in (
            ("limit", "The limit", {"type": "string", "pattern": "^[0-9]+$"}),
            ("remaining", "What is left", {"type": "string", "pattern": "^[0-9]+$"}),
            ("reset", "The time until there is more", {"type": "string", "pattern": "^([0-9]+m)?[0-9]+s$"}),
        )
    },
}
"""Headers of every response, but for those that are not required."""
_RETRY_AFTER = ("Seconds to wait before the next try.", {"type": "string", "pattern": "^[0-9]+$"}, False)
_SHOULD_RETRY = ("`false`: the SDKs are told not to try again.", {"enum": ["true", "false"]}, False)
OF_STATUS: dict[int, Headers] = {
    401: {"www-authenticate": ("How to authenticate.", {"type": "string"}, True)},
    409: {"x-should-retry": _SHOULD_RETRY},
    413: {"connection": ("`close`: the rest of the body is not read.", {"type": "string"}, False)},
    429: {"retry-after": _RETRY_AFTER},
    503: {"retry-after": _RETRY_AFTER, "x-should-retry": _SHOULD_RETRY},
    504: {"x-should-retry": _SHOULD_RETRY},
}
"""Headers of errors."""


def statuses_of(operation: Operation, *, guarded: bool) -> list[int]:
    """The error statuses of an operation: its own, and those that follow from what it is."""
    found = {*operation.errors, 500}
    if operation.body or operation.query:
        found.add(400)
    if operation.method != "GET":  # the guard reads every other method's body, wanted or not
        found |= {408, 413}
    if guarded and not operation.public:
        found |= {401, 403}
    if not operation.public:  # while the server stops
        found.add(503)
    if operation.method in ("POST", "PUT", "PATCH") and not operation.public:  # callers may have limits
        found.add(429)
    return sorted(found)


def headers(*tables: Headers) -> dict[str, Any]:
    """Header objects."""
    return {
        name: {"description": description, "required": required, "schema": schema}
        for table in tables
        for name, (description, schema, required) in table.items()
    }
