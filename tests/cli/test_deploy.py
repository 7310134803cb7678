"""`ixmodal deploy` runs the real `modal deploy`, here against a control plane on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from modal._serialization import serialize
from modal_proto import api_pb2

from tests.support.modal_loopback import ControlPlane
from tests.support.modal_loopback.control_plane import CLIENT_ENVIRONMENT

ROOT = Path(__file__).parents[2]
DONE = api_pb2.FunctionPutOutputsItem(
    result=api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS, data=serialize(None)),
    data_format=api_pb2.DATA_FORMAT_PICKLE,
)


@pytest.fixture
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane() as running:
        yield running


def deploy(control_plane: ControlPlane, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command on the control plane."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("IXMODAL_")}
    environ = {**inherited, **CLIENT_ENVIRONMENT, "MODAL_SERVER_URL": control_plane.service.url}
    command = [sys.executable, "-m", "ixmodal", "deploy", *arguments]
    environ["PYTHONPATH"] = str(ROOT)
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=100, check=False)


def test_a_toml_file_and_its_tools_are_deployed(control_plane: ControlPlane, tmp_path: Path) -> None:
    (tmp_path / "tools_of_mine.py").write_text("def tool() -> str:\n    '''Say it.'''\n    return 'here'\n")
    (tmp_path / "my.toml").write_text(
        'name = "my-app"\nregion = ["eu-west"]\n[[models]]\nid = "demo"\nslots = 3\n'
        '[[agents]]\nid = "clerk"\nmodel = "demo"\ntools = ["tools_of_mine:tool"]\n'
    )
    done = deploy(control_plane, "my.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    deployed = control_plane.deployed()
    assert deployed.name == "my-app"
    (name,) = deployed.published.function_ids
    assert '"slots":3' in deployed.environment(name)["IXMODAL_SPEC"]
    assert any(path.endswith("tools_of_mine.py") for path in deployed.files(name))


def test_a_python_file_under_another_name_and_environment(control_plane: ControlPlane) -> None:
    done = deploy(control_plane, "examples/mistral_7b_l4.py", "--name", "other", "--env", "staging")
    assert done.returncode == 0, done.stdout + done.stderr
    assert control_plane.deployed().name == "other"
    asked = control_plane.service.requests(api_pb2.AppGetByDeploymentNameRequest)
    assert {(request.name, request.environment_name) for request in asked} == {("other", "staging")}


def test_the_weights_may_go_first(control_plane: ControlPlane) -> None:
    with ThreadPoolExecutor() as pool:
        running = pool.submit(deploy, control_plane, "examples/mistral_7b_l4.py", "--pull")
        call = control_plane.remote_calls.get(timeout=60)
        assert call.function_id == control_plane.deployed().published.function_ids["pull"]
        call.output.set_result(DONE)
        done = running.result(100)
    assert done.returncode == 0, done.stdout + done.stderr
    published = control_plane.service.requests(api_pb2.AppPublishRequest)
    assert [request.app_state for request in published] == [
        api_pb2.APP_STATE_EPHEMERAL,
        api_pb2.APP_STATE_DEPLOYED,
    ]


def test_what_modal_can_not_do_is_said_before_anything_is_sent(control_plane: ControlPlane, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('gpu = ["L4:none"]\nmodal = { snapshot = "gpu", pull = "ahead" }\n')
    done = deploy(control_plane, str(tmp_path / "my.toml"), "--pull")
    assert done.returncode == 1
    assert "gpu: L4:none asks for no number of GPUs" in done.stderr
    assert "--pull: there is nothing to pull onto a volume" in done.stderr
    assert control_plane.service.requests(api_pb2.AppCreateRequest) == []


def test_a_deploy_that_fails_has_its_exit_code(control_plane: ControlPlane) -> None:
    done = deploy(control_plane, "examples/mistral_7b_l4.py", "--strategy", "sideways")
    assert done.returncode == 2
    assert "sideways" in done.stderr
