"""`ixmodal key`."""

from __future__ import annotations

import secrets

from ixmodal.cli.terminal import console
from ixmodal.spec.keys import digest_of

_BYTES = 32


def key() -> None:
    """Make an API key, and its digest for the spec."""
    made = f"sk-{secrets.token_urlsafe(_BYTES)}"
    console.print(f"key     {made}", soft_wrap=True, highlight=False)
    console.print(f"digest  {digest_of(made.encode())}", soft_wrap=True, highlight=False)
