"""Modal on loopback: a control plane that records deploys, and containers of them behind an HTTP front.

The CLI (`modal deploy`) and the container entrypoint are the real ones; only the service they talk to is played.
It builds no image, mounts no volume, takes no snapshot and scales nothing.
"""

from tests.support.modal_loopback.container import Container, ServerContainer
from tests.support.modal_loopback.control_plane import ControlPlane
from tests.support.modal_loopback.deployed import Deployed, NamedSecret
from tests.support.modal_loopback.front import Front

__all__ = ["Container", "ControlPlane", "Deployed", "Front", "NamedSecret", "ServerContainer"]
