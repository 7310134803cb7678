"""`ixmodal models` of a spec, without any network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ixmodal.cli import main


def test_where_the_weights_of_a_spec_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IXMODAL_WEIGHTS_DIR", str(tmp_path))
    spec = tmp_path / "spec.json"
    models = [
        {"id": "demo"},
        {"id": "far", "source": "hf://owner/repo", "file": "a.gguf"},
        {"id": "gone", "source": "file:///none.gguf"},
        {"id": "cloud", "upstream": "https://host/v1"},
    ]
    spec.write_text(json.dumps({"models": models, "agents": [{"id": "clerk", "model": "demo"}]}))
    result = CliRunner().invoke(main, ["models", str(spec), "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [(row["id"], row["weights"]) for row in rows] == [
        ("demo", "here"),
        ("far", "to be downloaded"),
        ("gone", "wrong"),
        ("cloud", "upstream"),
        ("clerk", None),
    ]
    assert rows[0]["source"].endswith("demo.gguf")
    assert rows[1]["source"] == "hf://owner/repo/a.gguf"
    assert rows[4]["source"] == "agent of demo"
    assert "MiB" in CliRunner().invoke(main, ["models", str(spec)], env={"COLUMNS": "200"}).stdout
