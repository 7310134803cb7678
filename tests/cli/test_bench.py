from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ixmodal.cli import main
from tests.support.server import Server, free_port

runner = CliRunner()


def test_a_running_server_is_put_under_load(demo: Server, tmp_path: Path) -> None:
    saved, picture = tmp_path / "load.json", tmp_path / "load.svg"
    options = ["--base-url", f"{demo.url}/v1", "--streams", "1,2", "--conversations", "2", "--runs", "2"]
    options += ["--max-tokens", "4", "--ignore-eos", "--save", str(saved), "--plot", str(picture)]
    result = runner.invoke(main, ["bench", *options])
    assert result.exit_code == 0, result.output
    for words in ("2/2", "tokens/s", "counted by usage", "of a core"):
        assert words in result.stdout
    steps = json.loads(saved.read_text())
    assert [step["step"] for step in steps] == ["1", "2"]
    assert [[run["tokens"] for run in step["runs"]] for step in steps] == [[8, 8], [8, 8]]
    assert len({load["load"]["seed"] for load in steps}) == 1
    assert "<svg" in picture.read_text()


def test_programs_get_json_and_no_key(demo: Server) -> None:
    options = ["--base-url", f"{demo.url}/v1", "--rate", "20", "--conversations", "3", "--max-tokens", "2", "--json"]
    result = runner.invoke(main, ["bench", *options, "--api-key", "secret-key"])
    [step] = json.loads(result.stdout)
    assert (step["step"], step["runs"][0]["complete"], step["load"]["rate"]) == ("20/s", 3, 20.0)
    assert "secret-key" not in result.output


def test_failures_are_told_and_nothing_complete_is_exit_code_1() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    result = runner.invoke(main, ["bench", "--base-url", url, "--streams", "1", "--conversations", "1"])
    assert result.exit_code == 1
    assert "no connection" in result.output


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--streams", "a"], "a is no list of numbers"),
        (["--streams", "0"], "streams: 0 is too small"),
        (["--base-url", "host"], "is no URL"),
        (["--extra", "[1]"], "write a JSON object"),
        (["--extra", "{"], "no JSON"),
        (["--plot", "load.txt"], "write a .png, .svg or .pdf"),
    ],
)
def test_what_is_wrong_is_said(options: list[str], problem: str) -> None:
    result = runner.invoke(main, ["bench", *options])
    assert result.exit_code == 1
    assert problem in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
