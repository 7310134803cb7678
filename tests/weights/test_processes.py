"""Downloads by real processes, which wait for each other and are killed."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from ixmodal import Model
from ixmodal.errors import WeightsError
from ixmodal.weights import fetch
from ixmodal.weights.job import Job
from ixmodal.weights.places import target_path
from tests.support.hub import Files, Hub
from tests.weights.conftest import CONTENT, FILE, from_hub, left_below, wait_until, web

PULL = "import sys; from pathlib import Path; from ixmodal.weights import fetch; from ixmodal.spec import Model; \
print(fetch(Model.model_validate_json(sys.argv[1]), Path(sys.argv[2])))"


def start(model: Model, directory: Path, **environ: str) -> subprocess.Popen[str]:
    """A process that fetches the model."""
    command = [sys.executable, "-c", PULL, model.model_dump_json(), str(directory)]
    return subprocess.Popen(command, env=os.environ | environ, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> Path:
    """What it fetched."""
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return Path(output.strip())


def test_two_processes_download_from_the_hub_once(hub: Hub, tmp_path: Path) -> None:
    hub.pause = 0.1
    environ = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    both = [start(from_hub(), tmp_path / "w", **environ) for _ in range(2)]
    first, second = (result(process) for process in both)
    assert first == second == tmp_path / "w/hf/owner/Small-GGUF/main" / FILE
    assert first.read_bytes() == CONTENT
    assert len(hub.asked("GET", "/storage/")) == 1


def test_two_processes_download_from_the_web_once(tls: ssl.SSLContext, tmp_path: Path) -> None:
    with Files({"/small.gguf": CONTENT}, tls=tls) as files:
        files.pause = 0.1
        both = [start(web(f"{files.url}/small.gguf"), tmp_path) for _ in range(2)]
        first, second = (result(process) for process in both)
        assert first == second
        assert first.read_bytes() == CONTENT
        assert len(files.requests) == 1


def test_a_killed_download_is_gone_on_from(tls: ssl.SSLContext, tmp_path: Path) -> None:
    with Files({"/small.gguf": CONTENT}, tls=tls) as files:
        model = web(f"{files.url}/small.gguf")
        part = Job(model, target_path(model, tmp_path), 1).part
        files.pause = 0.2
        process = start(model, tmp_path)
        wait_until(lambda: part.exists() and part.stat().st_size > 100_000)
        process.kill()
        process.communicate(timeout=10)
        assert left_below(tmp_path) == {"small.gguf.part", "small.gguf.part.json"}
        kept = part.stat().st_size
        files.pause = 0
        assert fetch(model, tmp_path).read_bytes() == CONTENT
        assert [r.headers.get("range") for r in files.requests] == [None, f"bytes={kept}-"]
        assert left_below(tmp_path) == {"small.gguf", "small.gguf.verified.json"}


def test_a_dropped_connection_is_gone_on_from(tls: ssl.SSLContext, tmp_path: Path, pauses: list[float]) -> None:
    with Files({"/small.gguf": CONTENT}, tls=tls) as files:
        files.cut_after = 200_000
        assert fetch(web(f"{files.url}/small.gguf"), tmp_path).read_bytes() == CONTENT
        assert [r.headers.get("range") for r in files.requests] == [None, "bytes=200000-", "bytes=400000-"]


def test_waiting_for_another_process_ends(tmp_path: Path) -> None:
    job = Job(web(), target_path(web(), tmp_path), 1)
    job.target.parent.mkdir(parents=True)
    with FileLock(job.beside(".lock")):
        message = f"another process has been downloading {re.escape(str(job.target))} for 0.1 s"
        with pytest.raises(WeightsError, match=message):
            fetch(web(), tmp_path, timeout=0.1)
