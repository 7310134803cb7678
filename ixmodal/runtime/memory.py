"""This machine and its memory: what a model needs, what is free for it here, and the error that says both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from ixmodal.backends.cpu import available_cores
from ixmodal.engine.messages import Load
from ixmodal.errors import InsufficientMemoryError, WeightsError
from ixmodal.models.engines import judge
from ixmodal.models.memory import Need, need_of

MIB = 1024 * 1024
_PROCESS_BYTES = 96 * MIB
"""An engine's process without its model: interpreter, NumPy, the native library."""
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver tells it; bytes."""

    name: str
    total: int
    free: int


def need_for(load: Load) -> Need:
    """What a load will take, its process included.

    What is no readable model file (a test's script) needs nothing; a damaged one is refused where it is loaded.
    """
    path = Path(load.path)
    try:
        found = judge(path, "llama_cpp" if load.backend == "llama_cpp" else "ctransformers") if path.is_file() else None
    except WeightsError:
        found = None
    if found is None:
        return Need(0, 0, 0, 0, 0)
    need = need_of(
        found,
        slots=load.slots,
        context_length=load.context_length,
        batch_size=load.batch_size,
        gpu_layers=load.gpu_layers,
        mmap=load.mmap,
        cache_type=load.cache_type,
        memory_cache=load.memory_cache_bytes,
    )
    return replace(need, host=need.host + _PROCESS_BYTES)


def free_host_memory(cgroup: Path = _CGROUP) -> int:
    """Bytes that can be had without swapping: of the machine, and of the container's limit, the lesser."""
    free = int(psutil.virtual_memory().available)
    rooms = (
        _room(cgroup, "memory.max", "memory.current", ""),
        _room(cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),  # version 1
    )
    return max(0, min([free, *(room for room in rooms if room is not None)]))


def _room(group: Path, limit_name: str, used_name: str, prefix: str) -> int | None:
    """What a control group's limit leaves, the page cache counted as free; None without a limit."""
    try:
        limit = (group / limit_name).read_text("ascii").strip()
        if limit == "max":
            return None
        used = int((group / used_name).read_text("ascii"))
        rows = (line.split() for line in (group / "memory.stat").read_text("ascii").splitlines())
        cached = sum(int(value) for name, value in rows if name in (f"{prefix}active_file", f"{prefix}inactive_file"))
        return int(limit) - used + cached
    except (OSError, ValueError):
        return None


def usable_cores() -> int:
    """Cores that this process may use, within its affinity and its container's quota."""
    return available_cores()


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs that the driver shows; none without a driver."""
    import pynvml  # type: ignore[import-untyped]  # pynvml has no types; imported here: few models need it

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        found = [(pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetMemoryInfo(handle)) for handle in handles]
        return [Gpu(str(name), int(memory.total), int(memory.free)) for name, memory in found]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


class MemoryGauge:
    """Judges whether a model fits. `budget` is what all models may take together, bytes; None: what is free.

    A declared budget is believed: weights are mapped, so a model can be loaded that is larger than what is free.
    """

    def __init__(self, budget: int | None) -> None:
        self._budget = budget

    def lacking(self, need: Need, held: int) -> InsufficientMemoryError | None:
        """The error that loading would be, while other models hold `held` bytes; None if it fits."""
        free = free_host_memory() if self._budget is None else self._budget - held
        if need.host > free:
            return InsufficientMemoryError("memory", free_mib=free // MIB, required_mib=-(-need.host // MIB))
        devices = gpus() if need.gpu else []
        # Without a driver nobody can tell; the library then says itself what is wrong.
        room = sum(device.free for device in devices)
        if devices and need.gpu > room:
            return InsufficientMemoryError("vram", free_mib=room // MIB, required_mib=-(-need.gpu // MIB))
        return None
