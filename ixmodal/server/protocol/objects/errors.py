"""The envelope of every error."""

from __future__ import annotations

from typing_extensions import TypedDict


class ErrorBody(TypedDict):
    """What went wrong: all four keys are always there."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(TypedDict):
    """The body of every error."""

    error: ErrorBody
