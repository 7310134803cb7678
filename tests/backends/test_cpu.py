from __future__ import annotations

import os
from pathlib import Path

import pytest

from ixmodal.backends.cpu import available_cores, library_variant


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
    ("quota", "cores"),
    [("max 100000", 8), ("400000 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("9900000 100000", 8)],
)
def test_cores_are_cut_to_the_containers_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    cpu_max = tmp_path / "cpu.max"
    cpu_max.write_text(quota + "\n")
    assert available_cores(cpu_max) == cores


@pytest.mark.parametrize("content", [None, "", "nonsense", "a b", "1 2 3"])
def test_without_a_quota_all_cores_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5})
    cpu_max = tmp_path / "cpu.max"
    if content is not None:
        cpu_max.write_text(content)
    assert available_cores(cpu_max) == 2
