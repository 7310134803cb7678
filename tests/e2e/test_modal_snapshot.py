"""What happens before Modal's snapshot of a replica and what after, in the real entrypoint."""

from __future__ import annotations

from pathlib import Path

import httpx
import psutil
import pytest

import ixmodal
from ixmodal import App, Endpoint, Modal, Model, Volume
from tests.support.modal_apps import connect, deploy, engines_of, stream, wait_for
from tests.support.modal_loopback import Container, ControlPlane, ServerContainer
from tests.support.server import free_port

SHIPPED = Path(ixmodal.__file__).parent / "models/demo/demo.gguf"
DEMO = Model("demo", slots=1, threads=1)


def connections_of(container: Container | ServerContainer) -> list[str]:
    """What the container's processes are connected to, and what they listen on, over TCP."""
    processes = [psutil.Process(container.pid), *psutil.Process(container.pid).children(recursive=True)]
    found = [
        c for process in processes for c in process.net_connections("tcp") if c.status in ("ESTABLISHED", "LISTEN")
    ]
    return [f"{c.laddr.port} {c.status} {c.raddr.port if c.raddr else ''}" for c in found]


def test_engines_start_after_a_snapshot_of_the_cpu(tmp_path: Path) -> None:
    with ControlPlane() as control_plane:
        deploy(control_plane, App(models=(DEMO,), modal=Modal(snapshot="cpu"), endpoint=Endpoint(api_keys="secret:k")))
        with Container(control_plane, tmp_path, secrets={"IXMODAL_API_KEYS": "sk-k"}) as container:
            container.wait_snapshot()
            assert engines_of(container.pid) == []
            container.restore()
            container.wait_ready()
            assert len(engines_of(container.pid)) == 1
            with connect(container, "sk-k") as client:
                assert list(stream(client, 4))
            container.ask_to_stop()
            assert container.wait() == 0, container.log


def test_engines_are_in_a_snapshot_of_the_gpu(tmp_path: Path) -> None:
    with ControlPlane() as control_plane:
        deploy(control_plane, App(models=(DEMO,), gpu=("L4",), modal=Modal(snapshot="gpu")))
        with Container(control_plane, tmp_path) as container:
            container.wait_snapshot()
            (engine,) = engines_of(container.pid)
            container.restore()
            container.wait_ready()
            assert engines_of(container.pid) == [engine]
            with connect(container) as client:
                assert list(stream(client, 4))


def test_a_server_listens_after_its_snapshot(tmp_path: Path) -> None:
    port = free_port()
    with ControlPlane() as control_plane:
        deploy(control_plane, App(models=(DEMO,), modal=Modal(snapshot="cpu", serve_with="server", port=port)))
        with ServerContainer(control_plane, tmp_path) as server:
            server.wait_snapshot()
            assert wait_for(lambda: not connections_of(server))  # Modal closes its own once it has asked
            server.restore()
            server.wait_ready()
            assert httpx.get(f"{server.url}/readyz").status_code == 200


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_weights_are_judged_before_the_snapshot(damage: str, tmp_path: Path) -> None:
    mount = tmp_path / "weights"
    target = mount / "hf/owner/demo/main/demo.gguf"
    target.parent.mkdir(parents=True)
    model = Model("demo", source="hf://owner/demo", file="demo.gguf", sha256="0" * 64)
    if damage == "changed":
        target.write_bytes(SHIPPED.read_bytes())
    spec = App(models=(model,), weights=Volume("v", mount=str(mount)), modal=Modal(snapshot="cpu", pull="ahead"))
    with ControlPlane() as control_plane:
        deploy(control_plane, spec)
        with Container(control_plane, tmp_path / "container") as container:
            container.wait()
            assert "modal run app.py::pull" in container.failure
            assert not container.calls("ContainerCheckpoint")
