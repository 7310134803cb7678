"""The native libraries, one file each, behind the protocol in `base.py`."""

from __future__ import annotations

import importlib

from ixmodal.backends.base import Backend, LoadParams

_BACKENDS = {
    "ctransformers": "CtransformersBackend",
    "llama_cpp": "LlamaCppBackend",
    "scripted": "ScriptedBackend",
}


def load_backend(name: str, params: LoadParams) -> Backend:
    """Load a model with the library `name`. Raises `WeightsError` where it can't be loaded."""
    module = importlib.import_module(f"{__name__}.{name}")
    backend: Backend = getattr(module, _BACKENDS[name])(params)
    return backend


def import_usual() -> None:
    """Import what most models are loaded by. A process that waits for what to load has time for that."""
    importlib.import_module(f"{__name__}.ctransformers")
