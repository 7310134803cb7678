"""The declaration of what is kept between requests."""

from __future__ import annotations

from pydantic import Field, field_validator

from ixmodal.spec.declared import Declared


class State(Declared):
    """What is kept between requests: responses, conversations, and what callers have used of their limits."""

    url: str | None = Field(
        None,
        repr=False,
        description="Redis that replicas share (`redis://` or `rediss://`), for rate limits, and without a `path` for "
        "responses and conversations. A password is best set by IXMODAL_STATE__URL.",
    )
    path: str | None = Field(
        None,
        description="SQLite file, or `memory`, for responses and conversations; unset: `url`, or a file in the user's "
        "state directory, shared by processes.",
    )
    max_count: int = Field(10_000, ge=1, le=10_000_000, description="Responses, and conversations, kept at most.")
    max_age: float = Field(2_592_000, gt=0, le=315_360_000, description="Seconds since its last use that one is kept.")
    max_background: int = Field(64, ge=0, le=10_000, description="Background responses that may run or wait.")

    @field_validator("url")
    @classmethod
    def _is_redis(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("redis://", "rediss://")):
            raise ValueError("write redis://HOST:PORT/DATABASE or rediss://…")
        return url
