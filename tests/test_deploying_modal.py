"""The Modal part of docs/deploying.md: its commands are run with the real CLI, against a control plane on loopback."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from modal._serialization import serialize
from modal_proto import api_pb2

from ixmodal import Modal, load_spec
from tests.support.modal_apps import ROOT
from tests.support.modal_loopback import ControlPlane, NamedSecret

TEXT = (ROOT / "docs/deploying.md").read_text("utf-8").partition("## Modal\n")[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT)}
DONE = api_pb2.FunctionPutOutputsItem(
    result=api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS, data=serialize(None)),
    data_format=api_pb2.DATA_FORMAT_PICKLE,
)


def block(name: str) -> str:
    """The code block that follows the comment of that name."""
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    assert found, name
    return found[1]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory in which the page has been followed."""
    (tmp_path / "hello.toml").write_text(block("modal spec"))
    (tmp_path / "app.py").write_text(block("modal app"))
    return tmp_path


@pytest.fixture
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane() as running:
        yield running


def test_the_commands_do_what_the_page_says(place: Path, control_plane: ControlPlane) -> None:
    create, run, deploy = (shlex.split(line) for line in block("modal commands").splitlines())
    assert (create[:3], run[:2], deploy[:2]) == (["modal", "secret", "create"], ["modal", "run"], ["modal", "deploy"])
    created = control_plane.modal(*create[1:], cwd=place)
    assert created.returncode == 0, created.stdout + created.stderr
    with ThreadPoolExecutor() as pool:
        running = pool.submit(control_plane.modal, *run[1:], cwd=place, env=ENVIRONMENT)
        call = control_plane.remote_calls.get(timeout=60)
        assert call.function_id == control_plane.deployed().published.function_ids["pull"]
        call.output.set_result(DONE)
        assert running.result(60).returncode == 0
    deployed = control_plane.modal(*deploy[1:], cwd=place, env=ENVIRONMENT)
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    assert "https://" in deployed.stdout
    assert "Warning" not in deployed.stderr
    found = control_plane.deployed()
    assert found.name == "hello"
    assert found.gpus("Engine.*") == ["L4", "A10G"]
    (secret,) = found.secrets("Engine.*")
    assert secret == NamedSecret(create[3], ("IXMODAL_API_KEYS",))
    assert load_spec(environ=found.environment("Engine.*")) == load_spec(str(place / "hello.toml"), environ={})


def test_every_field_that_only_modal_has_is_on_the_page() -> None:
    table = TEXT.partition("What only Modal has")[2].partition("\n### ")[0]
    named = {
        name
        for row in table.splitlines()
        for name in re.findall(r"`([a-z_]+)`", row.partition("|")[2].partition("|")[0])
    }
    assert named == set(Modal.model_fields)
