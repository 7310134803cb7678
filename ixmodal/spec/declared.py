"""What all declarations have in common: names, and models that refuse what they don't know."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

ModelId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,127}$")]
"""What clients send as `model`: letters, digits and `._/:-`, 128 characters at most."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
"""A platform name: lower-case letters, digits and dashes, 63 characters at most."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)]
"""A checksum, 64 hexadecimal digits."""


class Declared(BaseModel):
    """Base of all spec models: frozen, nothing unknown, no NaN or infinity."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        protected_namespaces=(),
        defer_build=True,  # they are parts of one another: the whole is built once, with the first spec
    )
