from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ixmodal.cli import main
from tests.support.server import DEMO, serve

runner = CliRunner()
SPEEDS = {"prefill_tokens_per_second": 1000, "decode_step_seconds": [0.01, 0.012], "overhead_seconds": 0.005}


@pytest.fixture
def speeds(tmp_path: Path) -> str:
    path = tmp_path / "speeds.json"
    path.write_text(json.dumps(SPEEDS))
    return str(path)


def test_a_plan_tells_latency_replicas_and_cost(speeds: str, tmp_path: Path) -> None:
    picture = tmp_path / "plan.png"
    options = ["--speeds", speeds, "--rate", "0.5", "--duration", "600", "--price", "0.8", "--plot", str(picture)]
    result = runner.invoke(main, ["plan", *options])
    assert result.exit_code == 0, result.output
    for words in ("until its first token", "completed, 0 refused", "at most", "a million tokens"):
        assert words in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_figures_are_there_for_programs(speeds: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("at,prompt_tokens,completion_tokens\n0,100,11\n")
    options = ["--speeds", speeds, "--trace", str(trace), "--cold-start", "7", "--price", "3600", "--json"]
    result = runner.invoke(main, ["plan", *options])
    found = json.loads(result.stdout)
    # Seven seconds to start, 0.105 to read, ten more tokens of 0.01; the idle window of five minutes is paid.
    assert found["first_token"]["p50"] == pytest.approx(7.105)
    assert found["whole_answer"]["p50"] == pytest.approx(7.205)
    assert found["cost"] == pytest.approx(7.205 + 300)


def test_one_machine_refuses_what_its_queue_cannot_hold(speeds: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("at,prompt_tokens,completion_tokens\n" + "0,100,500\n" * 10)
    spec = tmp_path / "spec.toml"
    spec.write_text('endpoint = { max_queued = 3 }\n[[models]]\nid = "demo"\nslots = 2\n')
    result = runner.invoke(
        main, ["plan", str(spec), "--speeds", speeds, "--trace", str(trace), "--target", "local", "--json"]
    )
    found = json.loads(result.stdout)
    assert (found["completed"], found["refused"]) == (5, 5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "give --speeds FILE, or --measure"),
        (["--speeds", "none.json"], "can't be read"),
        (["--speeds", "SPEEDS", "--target", "moon"], "write platform or local"),
        (["--speeds", "SPEEDS", "--plot", "plan.txt"], "write a .png, .svg or .pdf"),
        (["--speeds", "SPEEDS", "--plot", "/nowhere/plan.png"], "can't be written"),
        (["--speeds", "SPEEDS", "--trace", "none.csv"], "can't be read"),
        (["--measure", "http://127.0.0.1:9/v1"], "can't be measured"),
    ],
)
def test_what_is_wrong_is_said(speeds: str, options: list[str], problem: str) -> None:
    result = runner.invoke(main, ["plan", *(speeds if option == "SPEEDS" else option for option in options)])
    assert result.exit_code == 1
    assert problem in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize("wrong", [{"decode_step_seconds": []}, {"decode_step_seconds": [0]}, {"speed": 1}])
def test_wrong_speeds_are_refused_by_field(tmp_path: Path, wrong: dict[str, object]) -> None:
    path = tmp_path / "speeds.json"
    path.write_text(json.dumps({**SPEEDS, **wrong}))
    result = runner.invoke(main, ["plan", "--speeds", str(path)])
    assert result.exit_code == 1
    assert next(iter(wrong)) in result.stderr


def test_a_running_server_is_measured(tmp_path: Path) -> None:
    saved = tmp_path / "speeds.json"
    with serve(DEMO) as server:
        options = ["--measure", f"{server.url}/v1", "--save", str(saved), "--rate", "0.1", "--duration", "100"]
        result = runner.invoke(main, ["plan", *options])
    assert result.exit_code == 0, result.output
    figures = json.loads(saved.read_text())
    assert len(figures["decode_step_seconds"]) == 4  # the shipped model's slots
    assert figures["prefill_tokens_per_second"] > 1
    assert runner.invoke(main, ["plan", "--speeds", str(saved), "--duration", "100"]).exit_code == 0


def test_models_on_other_servers_are_left_out(speeds: str) -> None:
    spec = '{"models": [{"id": "big", "upstream": "https://host/v1"}]}'
    result = runner.invoke(main, ["plan", spec, "--speeds", speeds])
    assert (result.exit_code, "there is none here to plan for" in result.output) == (1, True)
