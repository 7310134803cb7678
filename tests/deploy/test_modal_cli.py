"""The other commands of the real `modal` CLI: `run`, `serve`, a second deploy, one that is refused."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from modal._serialization import serialize
from modal_proto import api_pb2

from ixmodal import App, Endpoint, Image, Modal
from tests.support.modal_apps import ROOT, deploy, wait_for
from tests.support.modal_loopback import ControlPlane

DONE = api_pb2.FunctionPutOutputsItem(
    result=api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS, data=serialize(None)),
    data_format=api_pb2.DATA_FORMAT_PICKLE,
)


@pytest.fixture
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane() as running:
        yield running


@pytest.mark.parametrize("reference", ["app.py", "app.py::pull"])
def test_run_finds_the_pull(control_plane: ControlPlane, reference: str) -> None:
    with ThreadPoolExecutor() as pool:
        running = pool.submit(control_plane.modal, "run", reference, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
        call = control_plane.remote_calls.get(timeout=60)
        assert call.function_id == control_plane.deployed().published.function_ids["pull"]
        call.output.set_result(DONE)
        completed = running.result(60)
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_serve_runs_until_it_is_interrupted(control_plane: ControlPlane, tmp_path: Path) -> None:
    environment = {"IXMODAL_SPEC": App(name="served").model_dump_json(), "PYTHONPATH": str(ROOT)}
    arguments = ("serve", "-m", "tests.support.declared_app")
    with (tmp_path / "log").open("w") as log:
        process = control_plane.start(*arguments, cwd=ROOT, log=log, env=environment)
    try:
        assert wait_for(lambda: bool(control_plane.service.requests(api_pb2.AppPublishRequest)), 60)
        deployed = control_plane.deployed()
        assert deployed.published.app_state == api_pb2.APP_STATE_EPHEMERAL
        assert set(deployed.published.function_ids) == {"Engine.*"}
        assert deployed.function("Engine.*").method_definitions["serve"].webhook_config.type
        assert wait_for(lambda: bool(control_plane.service.requests(api_pb2.AppHeartbeatRequest)))
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, 1), (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()
    assert control_plane.service.requests(api_pb2.AppClientDisconnectRequest)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_second_deploy_may_serve_in_the_other_way(control_plane: ControlPlane) -> None:
    deploy(control_plane, App())
    first = control_plane.deployed()
    deploy(control_plane, App(modal=Modal(serve_with="server")))
    second = control_plane.deployed()
    assert second.published.app_id == first.published.app_id
    assert set(first.published.function_ids) == {"Engine.*"}
    assert set(second.published.function_ids) == {"Server"}


def test_everything_that_modal_can_not_do_is_told_at_once(control_plane: ControlPlane) -> None:
    spec = App(
        image=Image.cuda(),
        endpoint=Endpoint(label="a-label", api_keys="file:/etc/keys"),
        modal=Modal(serve_with="server", custom_domains="llm.example.org", snapshot="gpu"),
    )
    environment = {"IXMODAL_SPEC": spec.model_dump_json(exclude_unset=True), "PYTHONPATH": str(ROOT)}
    completed = control_plane.modal("deploy", "-m", "tests.support.declared_app", cwd=ROOT, env=environment)
    assert completed.returncode != 0
    output = completed.stdout + completed.stderr
    for field in ("endpoint.label", "modal.custom_domains", "modal.snapshot", "endpoint.api_keys"):
        assert field in output
    assert not control_plane.service.calls
