"""The declaration of API keys and of what each may use.

A key is declared by where it is read from: `secret:NAME` (a platform secret whose IXMODAL_API_KEYS holds keys),
`env:NAME` (an environment variable), `file:PATH` (a file, read again when it changes), `sha256:HEX` (the key's digest)
or the key itself. The last becomes its digest as soon as it is read, so that no spec in memory, in a log or on its way
to a platform holds a key. A plain digest is sound for keys of high entropy, such as `ixmodal key` makes: there is
nothing to guess that salting or stretching would slow down.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from ixmodal.spec.declared import Declared, ModelId, Name

SECRET_PREFIX = "secret:"  # noqa: S105  # the word, not a secret
ENVIRONMENT_PREFIX = "env:"
FILE_PREFIX = "file:"
DIGEST_PREFIX = "sha256:"
_REFERENCES = (SECRET_PREFIX, ENVIRONMENT_PREFIX, FILE_PREFIX)


def digest_of(key: bytes) -> str:
    """A key as it is kept: `sha256:` and the 64 hexadecimal digits of its SHA-256."""
    return DIGEST_PREFIX + hashlib.sha256(key).hexdigest()


def as_source(text: str) -> str:
    """A declared key without its secret: references and digests as they are, a key as its digest.

    Raises:
        ValueError: it is empty, or a digest of another length.
    """
    text = text.strip()
    if not text or text in _REFERENCES:
        raise ValueError("a key is empty; write the key, env:NAME, secret:NAME, file:PATH or sha256:DIGEST")
    if text.startswith(DIGEST_PREFIX):
        if not re.fullmatch(r"[0-9a-fA-F]{64}", text.removeprefix(DIGEST_PREFIX)):
            raise ValueError("a digest is sha256: and 64 hexadecimal digits")
        return text.lower()
    return text if text.startswith(_REFERENCES) else digest_of(text.encode())


KeySource = Annotated[str, AfterValidator(as_source)]
"""Where a key is read from, or its digest."""


class RateLimit(Declared):
    """What a caller may use; unset: the default of `endpoint.rate_limit`, and without that no limit."""

    requests_per_minute: int | None = Field(None, ge=1, le=60_000, description="Requests in any 60 seconds.")
    tokens_per_minute: int | None = Field(
        None, ge=1, le=1_000_000_000, description="Tokens, of prompts and answers, in a minute from the first on."
    )
    max_concurrent: int | None = Field(
        None, ge=1, le=10_000, description="Requests answered at one time, by one server process."
    )


class ApiKey(RateLimit):
    """A named caller: its keys, its limits, its rights."""

    name: Name = Field(description="Who calls; shown in logs. Limits are counted by name.")
    key: KeySource = Field(
        repr=False, description="As an entry of `api_keys`; all keys that it holds are this caller's."
    )
    models: tuple[ModelId, ...] = Field(
        (), max_length=256, description="Models and agents that it may use; none: all of them."
    )
    admin: bool = Field(False, description="May use the routes that change the server.")
