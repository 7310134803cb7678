from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ixmodal.cli import main

runner = CliRunner()


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IXMODAL_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("COLUMNS", "160")


def spec_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "spec.toml"
    path.write_text(text)
    return str(path)


def test_a_spec_that_is_fine(tmp_path: Path) -> None:
    result = runner.invoke(main, ["check", spec_file(tmp_path, 'name = "mine"')])
    assert result.exit_code == 0, result.output
    for told in ("package://demo", "this machine", "container", "Modal", "spec.toml is fine"):
        assert told in result.stdout


def test_a_spec_that_is_not(tmp_path: Path) -> None:
    text = 'models = [{ id = "m", source = "file:///none.gguf" }]\nendpoint = { api_keys = ["env:MY_KEYS"] }'
    result = runner.invoke(main, ["check", spec_file(tmp_path, text)])
    assert result.exit_code == 1
    assert "✗ m: /none.gguf does not exist" in result.stdout
    assert "✗ this machine: endpoint.api_keys: env:MY_KEYS: set" in result.stdout
    assert "needs the corrections above" in result.stdout


def test_a_target_that_is_asked_for_must_work(tmp_path: Path) -> None:
    spec = spec_file(tmp_path, 'models = [{ id = "demo", gpu_layers = 4 }]')
    assert runner.invoke(main, ["check", spec, "--target", "container"]).exit_code == 1
    assert runner.invoke(main, ["check", spec_file(tmp_path, ""), "--target", "container"]).exit_code == 0
    result = runner.invoke(main, ["check", spec, "--target", "moon"])
    assert result.exit_code == 1
    assert "moon is not known; write one of local, container, modal" in result.stderr


def test_json_for_programs(tmp_path: Path) -> None:
    result = runner.invoke(main, ["check", spec_file(tmp_path, ""), "--json"])
    data = json.loads(result.stdout)
    assert (result.exit_code, data["is_fine"], data["findings"]) == (0, True, [])
    assert [target["name"] for target in data["targets"]] == ["this machine", "container", "Modal"]
    assert data["models"][0]["need"]["cache"] > 0


def test_every_wrong_field_at_once(tmp_path: Path) -> None:
    spec = spec_file(tmp_path, 'nmae = "x"\nmemory_mib = 1\nmodels = [{ id = "m", slots = 0 }, { id = "m!" }]')
    result = runner.invoke(main, ["check", spec])
    assert result.exit_code == 1
    for field in ("nmae: no such field", "memory_mib: ", "models.0.slots: ", "models.1.id: "):
        assert field in result.stderr
    as_json = runner.invoke(main, ["check", spec, "--json"])
    assert as_json.exit_code == 1
    data = json.loads(as_json.stdout)
    assert data["is_fine"] is False
    assert len(data["errors"]) == 4
