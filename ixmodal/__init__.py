"""Serve open language models from GGML weights, here or on cloud GPUs, from one declaration."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ixmodal.errors import IxmodalError, SpecError
    from ixmodal.spec import (
        AgentSpec,
        ApiKey,
        App,
        CustomEndpoint,
        Endpoint,
        Image,
        Limits,
        Modal,
        ModalSecret,
        Model,
        RateLimit,
        Scaling,
        State,
        Upstream,
        Volume,
    )
    from ixmodal.spec.sources import load_spec

__all__ = [
    "AgentSpec",
    "ApiKey",
    "App",
    "CustomEndpoint",
    "Endpoint",
    "Image",
    "IxmodalError",
    "Limits",
    "Modal",
    "ModalSecret",
    "Model",
    "RateLimit",
    "Scaling",
    "SpecError",
    "State",
    "Upstream",
    "Volume",
    "load_spec",
]
__version__ = "0.1.0"
_HOMES = {
    "IxmodalError": "errors",
    "SpecError": "errors",
    "load_spec": "spec.sources",
}


def __getattr__(name: str) -> Any:
    # Looked up on first use: the engine's process starts a fifth of a second sooner without the spec's imports.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'spec')}"), name)
