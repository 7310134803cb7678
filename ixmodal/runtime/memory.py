"""Memory: what a model needs, what is free for it here, and the error that says both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from ixmodal.engine.messages import Load
from ixmodal.errors import InsufficientMemoryError, WeightsError
from ixmodal.models.inspect import inspect

MIB = 1024 * 1024
_OVERHEAD = 96 * MIB
"""An engine's process without its model: interpreter, NumPy, the native library and its scratch buffers."""
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Need:
    """Bytes that a loaded model takes: of this machine's memory, and of its GPUs'."""

    host: int
    gpu: int = 0


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver tells it; bytes."""

    name: str
    total: int
    free: int


def need_of(load: Load) -> Need:
    """What a model will take once loaded: weights, caches of all slots, and the process itself.

    A share of the blocks, and of their caches, goes to the GPU with `gpu_layers`. What is no readable model file (a
    test's script) needs nothing. Raises nothing: a damaged file is refused where it is loaded.
    """
    path = Path(load.path)
    if not path.is_file():
        return Need(0)
    try:
        model = inspect(path)
    except WeightsError:
        return Need(0)
    memory = model.memory
    cache = memory.cache_per_token * (load.context_length or model.context_length) * load.slots
    offloaded = min(load.gpu_layers, memory.blocks) / memory.blocks
    gpu = int((memory.weights + cache) * offloaded)
    return Need(memory.weights + cache - gpu + _OVERHEAD, gpu)


def free_host_memory(cgroup: Path = _CGROUP) -> int:
    """Bytes that can be had without swapping: of the machine, and of the container's limit (cgroup v2), the lesser."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = (cgroup / "memory.max").read_text("ascii").strip()
        if limit == "max":
            return free
        used = int((cgroup / "memory.current").read_text("ascii"))
        rows = (line.split() for line in (cgroup / "memory.stat").read_text("ascii").splitlines())
        cached = sum(int(value) for name, value in rows if name in ("active_file", "inactive_file"))
    except (OSError, ValueError):
        return free
    return max(0, min(free, int(limit) - used + cached))


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs that the driver shows; none without a driver, or without the package `nvidia-ml-py`."""
    try:
        import pynvml  # type: ignore[import-untyped]  # it has none
    except ImportError:
        return []
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
