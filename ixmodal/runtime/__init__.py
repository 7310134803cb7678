"""The composition root: a spec becomes engines that a server can ask. Modal's class, uvicorn and the CLI all use it."""

from __future__ import annotations

from ixmodal.runtime.composition import Runtime
from ixmodal.runtime.engines import FindLoad, Progress, find_load
from ixmodal.runtime.served_model import ModelState, ServedModel

__all__ = ["FindLoad", "ModelState", "Progress", "Runtime", "ServedModel", "find_load"]
