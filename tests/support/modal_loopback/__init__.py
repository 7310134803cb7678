"""Modal on loopback: a control plane that records deploys, and one container of them behind an HTTP front.

The CLI (`modal deploy`) and the container entrypoint are the real ones; only the service they talk to is played.
It builds no image, mounts no volume and scales nothing.
"""

from tests.support.modal_loopback.container import Container
from tests.support.modal_loopback.control_plane import ControlPlane
from tests.support.modal_loopback.deployed import Deployed, NamedSecret

__all__ = ["Container", "ControlPlane", "Deployed", "NamedSecret"]
