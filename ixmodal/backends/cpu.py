"""What this machine's processor offers: instruction sets, and the cores that are really ours."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def library_variant(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """The build of the native library that fits the processor: `avx2`, `avx` or `basic`.

    Read from the kernel in well under a millisecond; the library's own probe takes a second.
    None where the kernel doesn't tell (not Linux on x86-64): the library then decides.
    """
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        return None
    try:
        lines = cpuinfo.read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    if {"avx2", "fma", "f16c"} <= flags:
        return "avx2"
    return "avx" if {"avx", "f16c"} <= flags else "basic"


_SMALL_BYTES = 64 * 1024 * 1024
"""Weights below this size are read faster by one thread than two threads can agree on who reads what."""


def default_threads(weights_bytes: int, cores: int | None = None) -> int:
    """Threads for a model: one core is left to the server, small weights need only one thread.

    The library's threads wait by spinning: with one more of them than free cores, a token takes twenty times as long.
    """
    return 1 if weights_bytes < _SMALL_BYTES else max(1, (cores or available_cores()) - 1)


def available_cores(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores this process may use: its affinity, cut to the container's quota (cgroup v2 `cpu.max`)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cpu_max.read_text("ascii").split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return cores
