"""The deployed `app.server`, started by Modal's real container entrypoint, which says SIGTERM when it is to end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ixmodal import App, Limits, Modal, Model
from tests.support.modal_apps import connect, deploy, engines_of, stream, text_of, wait_for
from tests.support.modal_loopback import ControlPlane, ServerContainer
from tests.support.server import free_port

PORT = free_port()
SPEC = App(
    models=(Model("demo", slots=1, threads=1),),
    modal=Modal(serve_with="server", port=PORT),
    limits=Limits(max_restarts=0, drain_timeout=20),
)


@pytest.fixture(scope="module")
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane() as started:
        deploy(started, SPEC)
        yield started


@pytest.fixture
def server(control_plane: ControlPlane, tmp_path: Path) -> Iterator[ServerContainer]:
    with ServerContainer(control_plane, tmp_path) as started:
        yield started.wait_ready()


def test_it_is_ready_only_when_it_answers(server: ServerContainer) -> None:
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    with connect(server) as client:
        assert text_of(list(stream(client, 8, ignore_eos=True))).strip()


def test_it_ends_once_its_streams_have(server: ServerContainer) -> None:
    (engine,) = engines_of(server.pid)
    with connect(server) as client:
        answer = stream(client, 48, ignore_eos=True)
        first = next(iter(answer))
        engine.suspend()
        server.terminate()
        assert wait_for(lambda: httpx.get(f"{server.url}/readyz").status_code == 503)
        refused = httpx.get(f"{server.url}/v1/models")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_stopping")
        engine.resume()
        chunks = [first, *answer]
    assert chunks[-1].choices[0].finish_reason == "length"
    assert server.wait() == 0, server.log
    assert not server.failure
    assert not engine.is_running()


def test_a_dead_engine_ends_the_container(server: ServerContainer) -> None:
    (engine,) = engines_of(server.pid)
    engine.kill()
    assert server.wait() == 1, server.log


def test_a_server_that_cannot_load_says_why(control_plane: ControlPlane, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"models": (Model("gone", source="file:///nowhere/gone.gguf"),)})
    environment = {"IXMODAL_SPEC": spec.model_dump_json(exclude_unset=True)}
    with ServerContainer(control_plane, tmp_path, env=environment) as server:
        server.wait()
        assert "/nowhere/gone.gguf" in server.failure
        assert not server.is_ready


def test_a_port_in_use_is_told(control_plane: ControlPlane, server: ServerContainer, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with ServerContainer(control_plane, other) as second:
        second.wait()
        assert "Address already in use" in second.failure
