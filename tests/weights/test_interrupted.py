"""`ixmodal pull` against what happens to downloads: killed again and again, a full disk, another pull of the file."""

from __future__ import annotations

import hashlib
import os
import random
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ixmodal import App, Model
from ixmodal.weights import locate
from ixmodal.weights.job import Job
from ixmodal.weights.places import target_path
from tests.support.hub import Files, Hub, Repository
from tests.weights.conftest import CONTENT, left_below, wait_until

KILLS = 10
LARGE = b"GGUF" + random.Random(7).randbytes(32_000_000)
SHA256 = hashlib.sha256(LARGE).hexdigest()
ON_A_SMALL_DISK = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


class Home:
    """A server of `LARGE`, the model that is there, and the environment of a pull."""

    def __init__(self, files: Files, model: Model, room: Path) -> None:
        self.files = files
        self.model = model
        self.directory = room / "weights"
        self.target = target_path(model, self.directory)
        self.part = Job(model, self.target, 1).part
        self.environ = {
            **os.environ,
            "IXMODAL_SPEC": App(models=(model,)).model_dump_json(exclude_unset=True),
            "IXMODAL_WEIGHTS_DIR": str(self.directory),
            "HF_ENDPOINT": files.url,
            "HF_HOME": str(room / "hub"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "COLUMNS": "200",
        }

    def pull(self) -> subprocess.Popen[str]:
        """Start `ixmodal pull`."""
        command = [sys.executable, "-m", "ixmodal", "pull"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environ, stdout=pipe, stderr=pipe, text=True)

    def arrived(self) -> int:
        """Bytes in the part."""
        return self.part.stat().st_size if self.part.exists() else 0


@pytest.fixture(params=["https", "hf"])
def home(request: pytest.FixtureRequest, tls: ssl.SSLContext, tmp_path: Path) -> Iterator[Home]:
    files: Files
    if request.param == "https":
        files = Files({"/large.gguf": LARGE}, tls=tls)
        model = Model("large", source=f"{files.url}/large.gguf", sha256=SHA256)
    else:
        files = Hub({"owner/Large": Repository({"large.gguf": LARGE})})
        model = Model("large", source="hf://owner/Large", file="large.gguf", sha256=SHA256)
    with files:
        yield Home(files, model, tmp_path)


def test_killed_ten_times_it_ends_with_the_right_file_and_next_to_nothing_came_twice(home: Home) -> None:
    seed = random.randrange(1 << 32)
    print(f"the places to kill at are those of seed {seed}")
    places = sorted(random.Random(seed).sample(range(len(LARGE) * 95 // 100), KILLS))
    home.files.pause = 0.004
    for place in places:
        process = home.pull()
        wait_until(lambda place=place: home.arrived() > place, 60)
        process.kill()
        assert process.wait(10) == -9, "it was still downloading"
        process.communicate()
        assert not home.target.exists()
    home.files.pause = 0
    last = home.pull()
    _, told = last.communicate(timeout=60)
    assert last.returncode == 0, told
    assert hashlib.sha256(home.target.read_bytes()).hexdigest() == SHA256
    assert locate(home.model, home.directory) == home.target
    assert left_below(home.directory) == {"large.gguf", "large.gguf.verified.json"}
    print(f"{home.files.sent - len(LARGE):,} bytes of {len(LARGE):,} came twice")
    assert len(LARGE) <= home.files.sent <= len(LARGE) * 1.05


def test_a_pull_says_that_it_waits_for_another(home: Home) -> None:
    home.files.pause = 0.002
    first = home.pull()
    wait_until(lambda: home.arrived() > 0, 60)
    second = home.pull()
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert "another process is downloading" not in outputs[0][0]
    assert f"another process is downloading {home.target}; waiting for it" in outputs[1][0]
    assert home.files.sent == len(LARGE)


def test_a_disk_that_fills_up_leaves_no_half_file(tls: ssl.SSLContext, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with Files({"/small.gguf": CONTENT}, tls=tls) as files:
        files.tells_length = False  # so that it can't be seen ahead
        home = Home(files, Model("small", source=f"{files.url}/small.gguf"), tmp_path)
        home.environ["IXMODAL_WEIGHTS_DIR"] = str(disk)
        script = (
            f"mount -t tmpfs -o size=300k none {disk} && {sys.executable} -m ixmodal pull; code=$?; find {disk} -type f"
        )
        command = [*ON_A_SMALL_DISK, f"{script}; exit $code"]
        done = subprocess.run(command, env=home.environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert "the disk is full" in done.stderr
    assert "free some space and try again" in done.stderr
    assert "Traceback" not in done.stderr
    assert [Path(line).name for line in done.stdout.splitlines() if ".gguf" in line and line.startswith("/")] == [
        "small.gguf.lock"
    ]


def test_a_disk_that_is_too_small_is_seen_ahead(tls: ssl.SSLContext, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with Files({"/large.gguf": LARGE}, tls=tls) as files:
        home = Home(files, Model("large", source=f"{files.url}/large.gguf"), tmp_path)
        home.environ["IXMODAL_WEIGHTS_DIR"] = str(disk)
        script = f"mount -t tmpfs -o size=300k none {disk} && exec {sys.executable} -m ixmodal pull"
        command = [*ON_A_SMALL_DISK, script]
        done = subprocess.run(command, env=home.environ, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "needs 32,000,004 bytes, but" in done.stderr
        assert files.sent < len(LARGE) / 2, "what was on its way when the answer was closed"


def test_a_limit_on_the_size_of_files_is_told_as_such(tls: ssl.SSLContext, tmp_path: Path) -> None:
    with Files({"/small.gguf": CONTENT}, tls=tls) as files:
        home = Home(files, Model("small", source=f"{files.url}/small.gguf"), tmp_path)
        command = ["sh", "-c", f"ulimit -f 200; exec {sys.executable} -m ixmodal pull"]
        done = subprocess.run(command, env=home.environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "can't be used: File too large" in done.stderr
    assert not home.target.exists()
