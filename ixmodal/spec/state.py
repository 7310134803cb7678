"""The declaration of what is kept between requests."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import Field, field_validator

from ixmodal.spec.declared import Declared

DICT_PREFIX = "modal-dict://"


def state_home() -> Path:
    """Where this user's programs keep what outlives them, ixmodal's part of it; see the XDG Base Directory rules."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()) / "ixmodal"


class State(Declared):
    """What is kept between requests: responses, conversations, and what callers have used of their limits."""

    url: str | None = Field(
        None,
        repr=False,
        description="Redis that replicas share (`redis://` or `rediss://`), for rate limits, and without a `path` for "
        "responses and conversations; or for these alone, on Modal, its Dicts (`modal-dict://NAME`). A "
        "password is best set by IXMODAL_STATE__URL.",
    )
    path: str | None = Field(
        None,
        description="SQLite file, or `memory`, for responses and conversations; unset: `url`, or a file in the user's "
        "state directory, shared by processes.",
    )
    max_count: int = Field(10_000, ge=1, le=10_000_000, description="Responses, and conversations, kept at most.")
    max_age: float = Field(2_592_000, gt=0, le=315_360_000, description="Seconds since its last use that one is kept.")
    max_background: int = Field(64, ge=0, le=10_000, description="Background responses that may run or wait.")

    @property
    def redis_url(self) -> str | None:
        """The address, if it is of a Redis."""
        return None if self.url is None or self.dict_name else self.url

    @property
    def dict_name(self) -> str | None:
        """The name of the Dicts, if it is an address of such."""
        is_dict = self.url is not None and self.url.startswith(DICT_PREFIX)
        return self.url.removeprefix(DICT_PREFIX) if self.url is not None and is_dict else None

    @field_validator("url")
    @classmethod
    def _is_known(cls, url: str | None) -> str | None:
        if url is None or url.startswith(("redis://", "rediss://")):
            return url
        if not url.startswith(DICT_PREFIX):
            raise ValueError("write redis://HOST:PORT/DATABASE, rediss://… or, on Modal, modal-dict://NAME")
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,58}", url.removeprefix(DICT_PREFIX)):
            raise ValueError("the name of a Dict has letters, digits, '.', '-' and '_', 58 at most: modal-dict://NAME")
        return url
