"""The declaration of the HTTP face: who may call it and how many may wait."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from ixmodal.spec.declared import Declared, Name

SECRET_PREFIX = "secret:"  # noqa: S105  # the word, not a secret


class Endpoint(Declared):
    """The HTTP face: who may call it and how many may wait."""

    api_keys: tuple[str, ...] = Field(
        (),
        description="Accepted keys: `secret:NAME` (a platform secret whose IXMODAL_API_KEYS holds them), "
        "`env:NAME` (an environment variable, comma-separated) or a literal. None: open to all.",
    )
    cors_origins: tuple[str, ...] = Field((), description="Origins that browsers may call from; none: CORS is off.")
    max_queued: int = Field(64, ge=0, le=10_000, description="Requests a model that may wait for a slot.")
    unprefixed_routes: bool = Field(False, description="Serve the /v1 routes without /v1 as well.")
    label: Name | None = Field(None, description="First part of the public host name, where a platform has one.")

    @field_validator("api_keys", "cors_origins", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("api_keys")
    @classmethod
    def _not_blank(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if any(not key.strip() or key in (SECRET_PREFIX, "env:") for key in keys):
            raise ValueError("a key is empty; write the key, env:NAME or secret:NAME")
        return keys

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the platform secrets that hold keys."""
        return tuple(k.removeprefix(SECRET_PREFIX) for k in self.api_keys if k.startswith(SECRET_PREFIX))
