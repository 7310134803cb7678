"""The declaration: one `App` says what is served, from which weights, with which limits, and how it scales.

Every home reads the same object: `uvicorn ixmodal.asgi:app`, `ixmodal serve`, `modal deploy app.py`.
The models are frozen and refuse unknown keys. Durations are seconds, sizes are bytes unless a name says otherwise.
Reading from TOML, JSON and the environment is in `sources.py`.
"""

from __future__ import annotations

from ixmodal.spec.agents import AgentSpec
from ixmodal.spec.app import App
from ixmodal.spec.custom_endpoints import CustomEndpoint
from ixmodal.spec.endpoint import Endpoint
from ixmodal.spec.image import Image, Volume
from ixmodal.spec.keys import SECRET_PREFIX, ApiKey, RateLimit
from ixmodal.spec.limits import Limits
from ixmodal.spec.modal import Modal, ModalSecret
from ixmodal.spec.model import Model
from ixmodal.spec.scaling import Scaling
from ixmodal.spec.state import State
from ixmodal.spec.upstream import Upstream

__all__ = [
    "SECRET_PREFIX",
    "AgentSpec",
    "ApiKey",
    "App",
    "CustomEndpoint",
    "Endpoint",
    "Image",
    "Limits",
    "Modal",
    "ModalSecret",
    "Model",
    "RateLimit",
    "Scaling",
    "State",
    "Upstream",
    "Volume",
]
