"""What docs/clients.md shows is what happens: its examples are executed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ROOT, Server

PAGE = (ROOT / "docs/clients.md").read_text("utf-8")
EXAMPLES = re.findall(
    r"^## ([^\n]+)\n(?:(?!^## ).)*?```(\w+)\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE
)


@pytest.mark.timeout(200)  # the first of Node's installs packages
@pytest.mark.parametrize(("client", "language", "code", "printed"), EXAMPLES, ids=[example[0] for example in EXAMPLES])
def test_example(
    demo: Server, request: pytest.FixtureRequest, tmp_path: Path, client: str, language: str, code: str, printed: str
) -> None:
    assert "http://127.0.0.1:8000" in code
    code = code.replace("http://127.0.0.1:8000", demo.url)
    cwd = ROOT
    if language == "js":
        cwd = request.getfixturevalue("node_folder")
        command = ["node", "--input-type=module", "--eval", code]
    else:
        command = [sys.executable, "-W", "ignore", "-c", code] if language == "python" else ["bash", "-c", code]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"{client}: {done.stderr}"
    assert printed.strip() in done.stdout.splitlines()


def test_every_client_has_an_example() -> None:
    assert len(EXAMPLES) == len(re.findall(r"^## ", PAGE, re.MULTILINE)) == 8
