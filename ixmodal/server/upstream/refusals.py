"""What an upstream refuses, as this server tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ixmodal.errors import BusyError, ContextLengthError, IxmodalError
from ixmodal.server.errors import HTTPError

if TYPE_CHECKING:
    from ixmodal.upstreams.answer import Answer

_CONTEXT = "context_length_exceeded"
_SHOWN = 200


def envelope_of(body: bytes) -> dict[str, Any] | None:
    """The `error` object of an answer in OpenAI's form; None if it has another."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) and isinstance(error.get("message"), str) else None


def unknown_refusal(answer: Answer, body: bytes) -> HTTPError:
    """An error that has no envelope, in one: its status, and the beginning of its text."""
    text = " ".join(body.decode("utf-8", "replace").split())[:_SHOWN]
    said = f"{answer.status} {answer.reason}".strip() + (f": {text}" if text else "")
    kind = "server_error" if answer.status >= 500 else "invalid_request_error"
    message = f"The upstream of {answer.name} answers {said}"
    return HTTPError(answer.status, message, type=kind, code="upstream_error", headers=_without_type(answer))


def refusal(answer: Answer, body: bytes) -> Exception:
    """An error answer as an exception: status, type, param and code stay as they are, the message says whose it is."""
    error = envelope_of(body)
    if error is None:
        return unknown_refusal(answer, body)
    message = f"The upstream of {answer.name}: {error['message']}"
    param, code = _text(error.get("param")), _text(error.get("code"))
    if code == _CONTEXT:
        return ContextLengthError(message, param=param)
    if answer.status == 429:
        asked = answer.headers.get("retry-after", "")
        return BusyError(message, retry_after=max(1, int(asked)) if asked.isdecimal() and len(asked) < 6 else 1)
    kind = _text(error.get("type")) or "invalid_request_error"
    return HTTPError(answer.status, message, type=kind, param=param, code=code, headers=_without_type(answer))


def refused_twice(first: IxmodalError, second: IxmodalError) -> IxmodalError:
    """The refusal of a model whose overflow failed too: its kind, and its time to wait, with both reasons."""
    first.args = (f"{first.message} And where it overflows to: {second.message}", *first.args[1:])
    return first


def _without_type(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if not name.startswith("content-")}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
