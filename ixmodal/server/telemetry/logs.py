"""Where log lines go and how they look: JSON by structlog for machines, sentences for terminals."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from ixmodal.errors import SpecError
from ixmodal.server.telemetry.access_log import FIELDS, NAME
from ixmodal.spec.sources import LOG_FORMAT_VARIABLE

if TYPE_CHECKING:
    from structlog.stdlib import ProcessorFormatter

_FORMATS = ("json", "text")


def configure_logging(text: logging.Handler, *, access: bool = True, environ: Mapping[str, str] | None = None) -> None:
    """Send all log records to standard error.

    Args:
        text: the handler for sentences; JSON replaces it where `IXMODAL_LOG_FORMAT` asks for it, or where it asks for
            nothing and standard error is no terminal.
        access: False for no line a request.
        environ: the environment; unset: this process's.

    Raises:
        SpecError: the variable names no format.
    """
    handler = text
    if is_json(os.environ if environ is None else environ):
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        for name in ("uvicorn", "uvicorn.error"):  # they have handlers of their own under the `uvicorn` command
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).propagate = True
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger(NAME).disabled = not access


def is_json(environ: Mapping[str, str]) -> bool:
    """Whether log lines are to be JSON. Raises `SpecError` if the variable names no format."""
    chosen = environ.get(LOG_FORMAT_VARIABLE) or None
    if chosen is None:
        return not sys.stderr.isatty()
    if chosen not in _FORMATS:
        raise SpecError("the environment", [f"{LOG_FORMAT_VARIABLE}: it is {chosen!r:.40}; write json or text"])
    return chosen == "json"


def take_over_uvicorns() -> bool:
    """Silence uvicorn's line a request, for there is ours. Returns False if its user had it silenced already."""
    uvicorns = logging.getLogger("uvicorn.access")
    wanted = bool(uvicorns.handlers) or uvicorns.propagate
    uvicorns.handlers.clear()
    uvicorns.propagate = False
    return wanted


class JsonFormatter(logging.Formatter):
    """A record as a line of JSON, by structlog, which is imported for the first line."""

    def __init__(self) -> None:
        super().__init__()
        self._inner: ProcessorFormatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        if self._inner is None:
            self._inner = _structlog_formatter()
        return self._inner.format(record)


def _structlog_formatter() -> ProcessorFormatter:
    from structlog import processors, stdlib

    from ixmodal.server.json import dumps

    def render(data: Any, **_: Any) -> str:
        return dumps(data).decode()

    return stdlib.ProcessorFormatter(
        foreign_pre_chain=[stdlib.add_log_level, stdlib.add_logger_name, _add_time, _add_fields],
        processors=[
            stdlib.ProcessorFormatter.remove_processors_meta,
            processors.format_exc_info,
            processors.JSONRenderer(serializer=render),
        ],
    )


def _add_time(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    from datetime import UTC, datetime

    made = datetime.fromtimestamp(event["_record"].created, UTC)
    return {"timestamp": made.isoformat(timespec="milliseconds"), **event}


def _add_fields(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The record's own fields; they say all that its sentence says."""
    return {**event, **getattr(event["_record"], FIELDS, {})}
