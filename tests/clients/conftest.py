"""What the clients talk to, and what they need. A tool that is missing fails these tests."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import SCRIPTED, Server, serve

NODE = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def keyed() -> Iterator[Server]:
    """A server with one key, one slot and no queue, whose engine says what it is told."""
    spec = {"models": [{"id": "demo", "slots": 1}], "endpoint": {"api_keys": ["right"], "max_queued": 0}}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        yield server


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts of `node/`, and the packages that they use."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(NODE, folder, dirs_exist_ok=True)
    done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"npm ci failed; these tests need Node 20 or newer, and npm:\n{done.stderr}"
    return folder
