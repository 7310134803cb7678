from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ixmodal.backends.cpu import available_cores, default_threads, has_bfloat16, library_variant, physical_cores
from tests.support.server import ROOT


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ixmodal.backends.cpu.platform.system", lambda: "Linux")
    monkeypatch.setattr("ixmodal.backends.cpu.platform.machine", lambda: "x86_64")


@pytest.mark.parametrize(
    ("flags", "variant"),
    [
        ("fpu avx avx2 fma f16c", "avx2"),
        ("fpu avx avx2 f16c", "avx"),
        ("fpu avx avx2 fma", "basic"),
        ("fpu avx f16c", "avx"),
        ("fpu avx", "basic"),
        ("fpu sse2", "basic"),
        ("", "basic"),
        ("avx2x fmax f16cx", "basic"),
    ],
)
def test_the_build_that_fits_the_processor(tmp_path: Path, flags: str, variant: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        f"processor\t: 0\nmodel name\t: avx2 fma f16c\nflags\t\t: {flags}\nbugs\t: \n\nflags\t: avx2 fma f16c\n"
    )
    assert library_variant(cpuinfo) == variant


def test_where_the_kernel_does_not_tell_the_library_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert library_variant(tmp_path / "absent") is None
    monkeypatch.setattr("ixmodal.backends.cpu.platform.machine", lambda: "aarch64")
    assert library_variant() is None
    monkeypatch.setattr("ixmodal.backends.cpu.platform.machine", lambda: "x86_64")
    monkeypatch.setattr("ixmodal.backends.cpu.platform.system", lambda: "Darwin")
    assert library_variant() is None


@pytest.mark.parametrize(
    ("flags", "has"), [("avx512f avx512_bf16", True), ("avx512f avx512_bf16x", False), ("", False)]
)
def test_a_processor_that_multiplies_bfloat16(tmp_path: Path, flags: str, has: bool) -> None:
    (cpuinfo := tmp_path / "cpuinfo").write_text(f"model name\t: avx512_bf16\nflags\t\t: {flags}\n")
    assert has_bfloat16(cpuinfo) is has
    assert not has_bfloat16(tmp_path / "absent")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("400000 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("9900000 100000", 8)],
)
def test_cores_are_cut_to_the_containers_quota(tmp_path: Path, quota: str, cores: int) -> None:
    write(tmp_path / "cpu.max", quota)
    assert available_cores(tmp_path, tmp_path / "absent") == cores


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("300000", 3), ("150000", 1), ("10000", 1)])
def test_so_they_are_by_control_groups_of_version_1(tmp_path: Path, folder: str, quota: str, cores: int) -> None:
    write(tmp_path / folder / "cpu.cfs_quota_us", quota)
    write(tmp_path / folder / "cpu.cfs_period_us", "100000")
    assert available_cores(tmp_path, tmp_path / "absent") == cores


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("own", "folder", "cores"),
    [
        ("0::/", "system.slice", 8),
        ("0::/system.slice/ixmodal.service", "system.slice/ixmodal.service", 3),
        ("0::/system.slice/ixmodal.service", "system.slice", 3),
        ("0::/system.slice/ixmodal.service", "user.slice", 8),
        ("0::/../system.slice", "system.slice", 3),
        ("9:name=systemd:/a\n1:cpu,cpuacct:/b", "cpu,cpuacct/b", 3),
        ("9:name=systemd:/b\n1:memory:/b", "cpu,cpuacct/b", 8),
        ("no such line", "system.slice", 8),
    ],
)
def test_the_quotas_of_its_own_group_and_those_above_count(tmp_path: Path, own: str, folder: str, cores: int) -> None:
    group = tmp_path / "groups" / folder
    if folder.startswith("cpu"):
        write(group / "cpu.cfs_quota_us", "300000")
        write(group / "cpu.cfs_period_us", "100000")
    else:
        write(group / "cpu.max", "300000 100000")
    write(tmp_path / "own", own)
    assert available_cores(tmp_path / "groups", tmp_path / "own") == cores


@pytest.mark.parametrize("content", [None, "", "nonsense", "a b", "1 2 3", "1 0"])
def test_without_a_quota_all_cores_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5})
    if content is not None:
        write(tmp_path / "cpu.max", content)
    assert available_cores(tmp_path, tmp_path / "absent") == 2


@pytest.mark.usefixtures("eight_cores")
def test_hyperthreads_of_a_core_count_once(tmp_path: Path) -> None:
    assert physical_cores(tmp_path) == 8
    for n in range(8):
        write(tmp_path / f"cpu{n}/topology/thread_siblings_list", f"{n % 4},{n % 4 + 4}")
    assert physical_cores(tmp_path) == 4


BIG = 1 << 30


@pytest.mark.parametrize(
    ("weights", "cores", "physical", "options", "threads"),
    [
        (BIG, 8, 8, {}, 7),
        (BIG, 8, 4, {}, 4),
        (BIG, 2, 2, {}, 1),
        (BIG, 1, 1, {}, 1),
        (1 << 20, 8, 8, {}, 1),
        (BIG, 8, 8, {"sharers": 2}, 3),
        (BIG, 8, 8, {"sharers": 20}, 1),
        (BIG, 64, 32, {"reserved": 4}, 3),
        (BIG, 64, 32, {"reserved": 0.125}, 1),
        (BIG, 2, 2, {"reserved": 16}, 1),
    ],
)
def test_threads_are_those_of_the_cores_that_are_free(
    monkeypatch: pytest.MonkeyPatch, weights: int, cores: int, physical: int, options: dict[str, float], threads: int
) -> None:
    monkeypatch.setattr("ixmodal.backends.cpu.available_cores", lambda: cores)
    monkeypatch.setattr("ixmodal.backends.cpu.physical_cores", lambda: physical)
    assert default_threads(weights, **options) == threads  # type: ignore[arg-type]  # a table of both options


def test_a_real_process_on_one_core_takes_one_thread() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from ixmodal.backends.cpu import *; print(available_cores(), physical_cores(), default_threads(1 << 40))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1", "1"]
