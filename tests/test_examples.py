"""Every example is a spec that `ixmodal check` finds nothing wrong with, and its README names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ixmodal.server.agents.tools import load_tools
from ixmodal.spec.sources import load_spec

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SPECS = [*sorted(path.name for path in EXAMPLES.glob("*.toml")), "mistral_7b_l4.py"]
KEYS = {"IXMODAL_API_KEYS": "a-key"}
"""What the examples ask their user to set."""


@pytest.mark.parametrize("name", SPECS)
def test_the_real_command_finds_it_fine(name: str, tmp_path: Path) -> None:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("IXMODAL_")}
    environ = {**inherited, **KEYS, "IXMODAL_UPSTREAM_KEY": "a-key", "IXMODAL_WEIGHTS_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "ixmodal", "check", f"examples/{name}", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["is_fine"] is True
    assert any(target["is_intended"] and target["works"] for target in report["targets"])


def test_the_readme_names_every_spec() -> None:
    text = (EXAMPLES / "README.md").read_text("utf-8")
    assert [name for name in SPECS if f"]({name})" not in text] == []
    assert [part for part in text.split("](")[1:] if not (EXAMPLES / part.partition(")")[0]).exists()] == []


def test_the_tools_of_the_agent_work() -> None:
    spec = load_spec(str(EXAMPLES / "agent_with_tools.toml"), {})
    tools = load_tools(spec.agents[0].tools, "clerk")
    assert [tool.name for tool in tools] == ["get_price", "get_stock"]
    parameters = tools[0].definition["function"]["parameters"]
    assert parameters["properties"]["article"]["enum"] == ["tea", "coffee", "sugar"]
