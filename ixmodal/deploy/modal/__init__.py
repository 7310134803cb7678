"""A spec on Modal.

`build(spec)` is the `modal.App` that `modal deploy app.py` sends, `pull_of(app)` what `modal run app.py::pull` runs.

A container imports the module of what it runs: `replica` or `pulling`. The spec travels to it as JSON in
`IXMODAL_SPEC`, the package as files; the deployer's own file stays where it is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ixmodal.deploy.modal.app import build, pull_of

__all__ = ["build", "pull_of"]


def __getattr__(name: str) -> Any:
    # Looked up on first use: containers need nothing of what a deploy needs.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.app"), name)
