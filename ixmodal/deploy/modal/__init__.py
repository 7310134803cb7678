"""A spec on Modal: `build(spec)` is the `modal.App` that `modal deploy app.py` sends.

A container imports the module of what it runs: `replica` or `pulling`. The spec travels to it as JSON in
`IXMODAL_SPEC`, the package as files; the deployer's own file stays where it is.
"""

from ixmodal.deploy.modal.app import build

__all__ = ["build"]
