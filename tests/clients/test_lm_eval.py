"""lm-evaluation-harness: its figures are those computed from the library's own logits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import DEMO, ROOT, Server, serve

HERE = Path(__file__).parent
MODEL = ROOT / "ixmodal/models/demo/demo.gguf"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The model that ships, as the default: the harness's `gguf` names none."""
    with serve(DEMO, {"IXMODAL_SPEC": '{"models": [{"id": "demo"}], "default_model": "demo"}'}) as server:
        yield server


def evaluate(folder: Path, task: str, *arguments: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run `lm_eval` on a task of `tasks/`. Returns the task's results and its samples."""
    command = [sys.executable, "-m", "lm_eval", "run", "--tasks", task, "--include_path", str(HERE / "tasks")]
    done = subprocess.run(
        [*command, "--output_path", str(folder), "--log_samples", *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    [results] = folder.rglob("results_*.json")
    [samples] = folder.rglob("samples_*.jsonl")
    return json.loads(results.read_text("utf-8"))["results"][task], [
        json.loads(line) for line in samples.read_text("utf-8").splitlines()
    ]


def score(pairs: list[list[str]], by: str) -> list[tuple[float, bool]]:
    """Log-likelihood of each continuation, and whether it is the greedy one, from ctransformers alone."""
    asked = json.dumps({"model": str(MODEL), "pairs": pairs, "by": by})
    script = [sys.executable, str(HERE / "library.py")]
    done = subprocess.run(script, input=asked, capture_output=True, text=True, check=True, timeout=100)
    return [(total, greedy) for total, greedy in json.loads(done.stdout)]


@pytest.mark.timeout(300)  # the harness takes some ten seconds to import
@pytest.mark.parametrize("model", ["local-completions", "gguf"])
def test_multiple_choice(server: Server, tmp_path: Path, model: str) -> None:
    arguments = {
        "local-completions": f"model=demo,base_url={server.url}/v1/completions",  # its tokens are counted here, too
        "gguf": f"base_url={server.url}",
    }
    results, samples = evaluate(tmp_path, "capitals", "--model", model, "--model_args", arguments[model])
    pairs = [[one["arg_0"], one["arg_1"]] for sample in samples for one in sample["arguments"].values()]
    found = [(float(total), greedy == "True") for sample in samples for [[total, greedy]] in sample["resps"]]
    # `local-completions` sends token ids, to which nothing is added; `gguf` sends text, which gets the model's BOS.
    direct = score(pairs, "text" if model == "gguf" else "tokens")
    assert len(found) == 40
    assert [total for total, _ in found] == pytest.approx([total for total, _ in direct], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in direct]
    assert {greedy for _, greedy in found} == {True, False}
    right = 0
    for at, sample in enumerate(samples):
        totals = [total for total, _ in direct[4 * at : 4 * at + 4]]
        right += totals.index(max(totals)) == sample["doc"]["answer"]
    assert results["acc,none"] == right / len(samples)
    assert results["acc,none"] > 0.5


@pytest.mark.timeout(300)
def test_generation(server: Server, tmp_path: Path) -> None:
    results, samples = evaluate(
        tmp_path,
        "capitals_asked",
        *("--model", "local-chat-completions", "--apply_chat_template"),
        *("--model_args", f"model=demo,base_url={server.url}/v1/chat/completions"),
    )
    assert samples[0]["resps"] == [["The capital of France is Paris"]]  # up to the full stop, which ends it
    assert results["exact_match,none"] == 1
