"""The declaration of the HTTP face: who may call it and how many may wait."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from ixmodal.spec.declared import Declared, Name
from ixmodal.spec.keys import SECRET_PREFIX, ApiKey, KeySource, RateLimit


class Endpoint(Declared):
    """The HTTP face: who may call it and how many may wait."""

    api_keys: tuple[KeySource, ...] = Field(
        (),
        repr=False,
        max_length=1024,
        description="Accepted keys: `secret:NAME` (a platform secret whose IXMODAL_API_KEYS holds them), "
        "`env:NAME` (an environment variable, comma-separated), `file:PATH` (one a line, or a .toml or .json file of "
        "`keys`), `sha256:DIGEST` or a literal. No keys at all: open to all.",
    )
    keys: tuple[ApiKey, ...] = Field(
        (), max_length=1024, description="Keys with a name, limits and rights of their own."
    )
    rate_limit: RateLimit = Field(
        RateLimit(), description="Limits of each key that has none of its own; without keys, of all callers together."
    )
    cors_origins: tuple[str, ...] = Field((), description="Origins that browsers may call from; none: CORS is off.")
    max_queued: int = Field(64, ge=0, le=10_000, description="Requests a model that may wait for a slot.")
    unprefixed_routes: bool = Field(False, description="Serve the /v1 routes without /v1 as well.")
    page: bool = Field(True, description="Serve a chat page at / and a status page at /status.")
    log_prompts: int = Field(
        0, ge=0, le=65_536, description="Bytes of each request's body, which holds what users write, to log; 0: none."
    )
    public_metrics: bool = Field(False, description="Let /metrics be read without a key.")
    label: Name | None = Field(None, description="First part of the public host name, where a platform has one.")

    @field_validator("api_keys", "cors_origins", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [key.name for key in self.keys]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f'keys: two have the name "{twice}"; give each its own')
        return self

    @property
    def key_sources(self) -> tuple[str, ...]:
        """Where all keys are read from, or their digests."""
        return self.api_keys + tuple(key.key for key in self.keys)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the platform secrets that hold keys."""
        return tuple(s.removeprefix(SECRET_PREFIX) for s in self.key_sources if s.startswith(SECRET_PREFIX))
