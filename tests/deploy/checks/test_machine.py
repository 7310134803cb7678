from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from ixmodal.deploy.checks.machine import available_memory, gpus

MEMINFO = "MemTotal:  8000 kB\nMemFree: 10 kB\nMemAvailable:    4000 kB\n"


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(MEMINFO)
    return path


def limit(directory: Path, most: str, used: int) -> Path:
    (directory / "memory.max").write_text(most + "\n")
    (directory / "memory.current").write_text(f"{used}\n")
    return directory


def test_what_the_kernel_calls_available(meminfo: Path, tmp_path: Path) -> None:
    assert available_memory(meminfo, tmp_path / "no-cgroup") == 4000 * 1024
    assert available_memory(meminfo, limit(tmp_path, "max", 1)) == 4000 * 1024


@pytest.mark.parametrize(("most", "used", "left"), [(3_000_000, 1_000_000, 2_000_000), (1_000_000, 2_000_000, 0)])
def test_a_container_has_what_its_limit_leaves(meminfo: Path, tmp_path: Path, most: int, used: int, left: int) -> None:
    assert available_memory(meminfo, limit(tmp_path, str(most), used)) == left


def test_where_the_kernel_does_not_tell(tmp_path: Path) -> None:
    assert available_memory(tmp_path / "none") is None
    (tmp_path / "meminfo").write_text("MemTotal: 1 kB\n")
    assert available_memory(tmp_path / "meminfo") is None


def test_of_this_machine() -> None:
    found = available_memory()
    assert found is not None
    assert 0 < found <= psutil.virtual_memory().total


def test_a_driver_that_fails_means_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'no devices were found'; exit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == []
