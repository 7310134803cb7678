"""The official `openai` package for Node and the AI SDK: the tests of `node/`, each reported here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.server import Server


@pytest.mark.timeout(300)  # the first installs packages
@pytest.mark.parametrize(("script", "count"), [("openai.test.mjs", 18), ("ai.test.mjs", 25)])
def test_node(demo: Server, keyed: Server, node_folder: Path, script: str, count: int) -> None:
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", script],
        cwd=node_folder,
        env={**os.environ, "IXMODAL_DEMO_URL": demo.url, "IXMODAL_KEYED_URL": keyed.url},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"^# pass {count}$", done.stdout, re.MULTILINE), done.stdout
