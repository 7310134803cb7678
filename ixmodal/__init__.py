"""Serve open language models from GGML weights, here or on cloud GPUs, from one declaration."""

from ixmodal.errors import IxmodalError, SpecError
from ixmodal.spec import App, Endpoint, Image, Limits, Model, Scaling, Volume
from ixmodal.spec_sources import load_spec

__all__ = [
    "App",
    "Endpoint",
    "Image",
    "IxmodalError",
    "Limits",
    "Model",
    "Scaling",
    "SpecError",
    "Volume",
    "load_spec",
]
__version__ = "0.1.0"
