"""What this machine's processor offers: instruction sets, and the cores that are really ours."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path


def library_variant(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """The build of the native library that fits the processor: `avx2`, `avx` or `basic`.

    Read from the kernel in well under a millisecond; the library's own probe takes a second.
    None where the kernel doesn't tell (not Linux on x86-64): the library then decides.
    """
    flags = _flags(cpuinfo)
    if flags is None:
        return None
    if {"avx2", "fma", "f16c"} <= flags:
        return "avx2"
    return "avx" if {"avx", "f16c"} <= flags else "basic"


def has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16, as far as the kernel tells."""
    return "avx512_bf16" in (_flags(cpuinfo) or ())


def _flags(cpuinfo: Path) -> set[str] | None:
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        return None
    try:
        lines = cpuinfo.read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


_SMALL_BYTES = 64 * 1024 * 1024
"""Weights below this size are read faster by one thread than two threads can agree on who reads what."""
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_PROCESSORS = Path("/sys/devices/system/cpu")


def default_threads(weights_bytes: int, *, reserved: float | None = None, sharers: int = 1) -> int:
    """Threads for a model: one core is left to the server, small weights need only one thread.

    The library's threads wait by spinning: with one more of them than free cores, a token takes twenty times as long.
    So they stay within the cores that are this process's, within those that are `reserved` where a platform was asked
    for some, and within the physical ones; `sharers` models that may evaluate at the same time share them.
    """
    if weights_bytes < _SMALL_BYTES:
        return 1
    cores = available_cores() if reserved is None else min(available_cores(), int(reserved))
    return max(1, min(cores - 1, physical_cores()) // sharers)


def available_cores(cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> int:
    """Cores this process may use: its affinity, cut to the quota of its control groups, of version 2 or 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for group in _groups(cgroups, own) if (quota := _quota(group)) is not None]
    return max(1, min([cores, *map(int, quotas)]))


def physical_cores(processors: Path = _PROCESSORS) -> int:
    """Cores behind the processors of this process's affinity: two hyperthreads of a core count once."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    try:
        return len({(processors / f"cpu{n}/topology/thread_siblings_list").read_text("ascii") for n in allowed})
    except (OSError, ValueError):
        return len(allowed)


def _groups(cgroups: Path, own: Path) -> Iterator[Path]:
    """The control groups that may bound this process: its own and those above, as far as they are visible here."""
    roots = {"": cgroups, "cpu": cgroups / "cpu", "cpu,cpuacct": cgroups / "cpu,cpuacct"}
    yield from roots.values()
    try:
        lines = own.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if root := roots.get(controllers):
            parts = [part for part in path.split("/") if part and part != ".."]
            yield from (root.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1))


def _quota(group: Path) -> float | None:
    """The cores of a group's quota; None where it has none. https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu"""
    try:
        if (version_2 := group / "cpu.max").exists():
            quota, period = version_2.read_text("ascii").split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text("ascii").strip() for name in ("quota", "period"))
        return int(quota) / int(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
