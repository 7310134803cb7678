"""HTTP clients log each URL they ask for: signatures and passwords must not get into the log."""

from __future__ import annotations

import logging
import re

from ixmodal.weights.places import shown_url

_URL = re.compile(r"\bhttps?://\S+")


def hide_secrets(*loggers: str) -> None:
    """Strip user, password and query from every URL that these loggers log."""
    for name in loggers:
        logging.getLogger(name).addFilter(_strip)


def _strip(record: logging.LogRecord) -> bool:
    record.msg, record.args = _URL.sub(lambda url: shown_url(url[0]), record.getMessage()), ()
    return True
