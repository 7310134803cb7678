from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ixmodal.cli import COMMANDS, main
from ixmodal.server.keyring import KeyRing
from ixmodal.spec import App, Endpoint

runner = CliRunner()


def test_pull_verifies_and_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IXMODAL_WEIGHTS_DIR", str(tmp_path))
    result = runner.invoke(main, ["pull"])
    assert result.exit_code == 0
    assert "demo.gguf" in result.stdout


@pytest.mark.parametrize("command", ["serve", "pull"])
def test_a_wrong_spec_is_one_error_and_exit_code_1(command: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text('nmae = "x"\n')
    result = runner.invoke(main, [command, str(spec)])
    assert result.exit_code == 1
    assert "nmae: no such field; did you mean name?" in result.stderr
    assert "Traceback" not in result.output


def test_serve_refuses_keys_that_are_declared_and_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("IXMODAL_API_KEYS", raising=False)
    spec = tmp_path / "spec.toml"
    spec.write_text('endpoint = { api_keys = ["secret:team"] }\n')
    result = runner.invoke(main, ["serve", str(spec)])
    assert result.exit_code == 1
    assert "IXMODAL_API_KEYS" in result.stderr


def test_help_lists_every_command_in_order() -> None:
    result = runner.invoke(main, ["--help"])
    assert result.exit_code == 0
    places = [result.stdout.index(f"│ {name} ") for name in COMMANDS]
    assert places == sorted(places)


def test_an_unknown_command_is_a_usage_error() -> None:
    result = runner.invoke(main, ["sevre"])
    assert result.exit_code == 2
    assert "No such command 'sevre'" in result.stderr


def test_a_command_imports_what_it_needs_and_no_more() -> None:
    script = "import sys; from ixmodal.cli import main; main(['pull'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint({"uvicorn", "starlette", "modal", "huggingface_hub", "httpx", "numpy"})


def test_a_made_key_is_new_and_its_digest_opens_the_server() -> None:
    made = [dict(line.split() for line in runner.invoke(main, ["key"]).stdout.splitlines()) for _ in range(2)]
    assert made[0]["key"] != made[1]["key"]
    assert len(made[0]["key"]) > 40
    keys = KeyRing(App(endpoint=Endpoint(api_keys=(made[0]["digest"],))), {})
    assert [keys.find(pair["key"].encode()) is not None for pair in made] == [True, False]
