from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ixmodal.cli import main
from tests.support.server import ROOT

runner = CliRunner()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory, and no spec in the environment."""
    for name in [name for name in os.environ if name.startswith("IXMODAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_this_repositorys_files_are_as_its_spec_says() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("IXMODAL_", "MODAL_"))}
    command = [sys.executable, "-m", "ixmodal", "render", "--check"]
    checked = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
    assert "as the spec says" in checked.stdout


def test_a_file_is_written_then_checked_then_found_to_have_changed(elsewhere: Path) -> None:
    written = runner.invoke(main, ["render", "--out", "out"])
    assert written.exit_code == 0, written.output
    assert "out/Dockerfile: new" in written.stdout
    assert runner.invoke(main, ["render", "--out", "out", "--check"]).exit_code == 0

    compose = elsewhere / "out/compose.yaml"
    compose.write_text(compose.read_text() + "# by hand\n")
    checked = runner.invoke(main, ["render", "--out", "out", "--check"])
    assert checked.exit_code == 1
    assert "out/compose.yaml: changed" in checked.stderr
    assert compose.read_text().endswith("# by hand\n")


def test_the_spec_is_the_one_that_is_named(elsewhere: Path) -> None:
    (elsewhere / "my.toml").write_text('name = "named"\n')
    assert runner.invoke(main, ["render", "my.toml"]).exit_code == 0
    assert "name: named\n" in (elsewhere / "infra/compose.yaml").read_text()


def test_without_a_name_it_is_the_environments_and_else_that_of_app_py(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "app.py").write_text('from ixmodal import App\nspec = App(name="own")\n')
    command = [sys.executable, "-m", "ixmodal", "render"]
    # Safe path: as for the installed script, the working directory is not on Python's own path.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    assert "name: own\n" in (elsewhere / "infra/compose.yaml").read_text()
    monkeypatch.setenv("IXMODAL_SPEC", '{"name": "environments"}')
    assert runner.invoke(main, ["render"]).exit_code == 0
    assert "name: environments\n" in (elsewhere / "infra/compose.yaml").read_text()


def test_what_containers_can_not_have_is_one_error(elsewhere: Path) -> None:
    (elsewhere / "my.toml").write_text('state = { url = "redis://:very-secret@cache" }\n')
    refused = runner.invoke(main, ["render", "my.toml"])
    assert refused.exit_code == 1
    assert "state.url: " in refused.stderr
    assert "very-secret" not in refused.output
    assert not (elsewhere / "infra").exists()
