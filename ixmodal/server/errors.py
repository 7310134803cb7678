"""The exception tree as OpenAI's error envelope: `{"error": {message, type, param, code}}`, on every path."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ixmodal.errors import (
    BusyError,
    DeadlineError,
    EngineDeadError,
    EngineError,
    EngineNotReadyError,
    InsufficientMemoryError,
    IxmodalError,
    ModelNotFoundError,
    RequestError,
    ServerStoppingError,
    UpstreamError,
    UpstreamTimeoutError,
)
from ixmodal.server.json import JSONResponse
from ixmodal.server.telemetry.account import note_error

logger = logging.getLogger("ixmodal.server")


class HTTPError(Exception):
    """An error ready to be sent: status, envelope and headers."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, dict[str, Any]] = {
            "error": {"message": message, "type": type, "param": param, "code": code}
        }
        self.headers = headers or {}

    def response(self) -> Response:
        """The error as a response."""
        self._note()
        return JSONResponse(self.body, status_code=self.status, headers=self.headers)

    def as_event(self) -> dict[str, Any]:
        """The error as what an event of a stream holds."""
        self._note()
        return self.body

    def _note(self) -> None:
        note_error(self.body["error"]["code"], self.body["error"]["type"])


def to_http(error: Exception) -> HTTPError:
    """Any exception as what a client may see of it; what is unexpected is logged and told in general words."""
    if isinstance(error, HTTPError):
        return error
    if isinstance(error, HTTPException):
        return _of_framework(error)
    if isinstance(error, RequestError):
        status = 404 if isinstance(error, ModelNotFoundError) else 400
        return HTTPError(status, error.message, param=error.param, code=error.code)
    if isinstance(error, IxmodalError):
        return _of_service(error)
    logger.error("unexpected error", exc_info=error)
    return HTTPError(
        500, "The server failed at this request; its log says why.", type="server_error", code="internal_error"
    )


def _of_service(error: IxmodalError) -> HTTPError:
    if isinstance(error, BusyError):
        headers = {"retry-after": str(error.retry_after)}
        return HTTPError(429, error.message, type="rate_limit_error", code="server_busy", headers=headers)
    if isinstance(error, DeadlineError):
        # The client's own retries would only run into the same limit.
        headers = {"x-should-retry": "false"}
        return HTTPError(504, error.message, type="timeout_error", code="deadline_exceeded", headers=headers)
    if isinstance(error, EngineDeadError):
        # It was tried twice already: a request that kills engines must not be sent again by an SDK.
        headers = {"retry-after": str(error.retry_after), "x-should-retry": "false"}
        return HTTPError(503, error.message, type="server_error", code="engine_died", headers=headers)
    if isinstance(error, InsufficientMemoryError):
        found = HTTPError(503, error.message, type="server_error", code=f"insufficient_{error.kind}")
        found.headers["retry-after"] = str(error.retry_after)
        found.body["error"] |= {"free_mib": error.free_mib, "required_mib": error.required_mib}
        return found
    if isinstance(error, EngineNotReadyError):
        headers = {"retry-after": str(error.retry_after)}
        return HTTPError(503, error.message, type="server_error", code="model_not_ready", headers=headers)
    if isinstance(error, ServerStoppingError):
        headers = {"retry-after": str(error.retry_after)}
        return HTTPError(503, error.message, type="server_error", code="server_stopping", headers=headers)
    if isinstance(error, EngineError):
        return HTTPError(500, error.message, type="server_error", code="engine_error")
    if isinstance(error, UpstreamTimeoutError):
        return HTTPError(504, error.message, type="timeout_error", code="upstream_timeout")
    if isinstance(error, UpstreamError):
        return HTTPError(502, error.message, type="server_error", code="upstream_failed")
    return HTTPError(503, error.message, type="server_error", code="unavailable")


def _of_framework(error: HTTPException) -> HTTPError:
    message, code = str(error.detail), None
    if error.status_code == 404:
        message, code = "Unknown path. The routes are those of the OpenAI API below /v1, and /health.", "unknown_url"
    elif error.status_code == 405:
        message, code = "This path does not know that method; see the Allow header.", "method_not_allowed"
    return HTTPError(error.status_code, message, code=code, headers=dict(error.headers or {}))


def from_validation(error: ValidationError) -> HTTPError:
    """The first thing wrong with a request body, as a 400 that names the field."""
    item = error.errors(include_url=False)[0]
    param = _path(item["loc"])
    if item["type"] == "json_invalid":
        return HTTPError(400, f"The body is not valid JSON: {item['ctx']['error']}.", code="invalid_json")
    if item["type"] == "extra_forbidden":
        return HTTPError(400, f"Unrecognized request argument supplied: {param}", param=param, code="unknown_parameter")
    if item["type"] == "missing":
        return HTTPError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    if item["type"] == "unsupported_parameter":
        return HTTPError(400, item["msg"], param=item["ctx"]["param"], code="unsupported_parameter")
    if named := item.get("ctx", {}).get("param"):
        param = f"{param}.{named}" if param else named
        return HTTPError(400, f"Invalid value for '{param}': {item['msg']}.", param=param, code="invalid_value")
    message = item["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
    where = f"Invalid value for '{param}': " if param else ""
    return HTTPError(400, f"{where}{message}{_shown(item['input'])}.", param=param or None, code="invalid_value")


def field_error(param: str, message: str) -> PydanticCustomError:
    """For validators that look at several fields: the error of one of them."""
    return PydanticCustomError("field_error", "{message}", {"param": param, "message": message})


def _shown(value: Any) -> str:
    return f" (it is {value!r:.60})" if isinstance(value, str | int | float | bool) else ""


def _path(location: tuple[int | str, ...]) -> str:
    """A location as `messages[0].content`; parts that only pydantic knows, the names of union members, are left out."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.replace("_", "").isalnum() and not part[:1].isupper():
            path += f".{part}" if path else part
    return path


async def handle(_request: Request, error: Exception) -> Response:
    """Starlette's exception handler for everything."""
    return to_http(error).response()
