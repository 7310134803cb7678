"""What all bodies of requests have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """Base of what clients send: strict types, nothing unknown.

    Validators are built for the first body of their kind: a start need not wait for those of all routes.
    """

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)
