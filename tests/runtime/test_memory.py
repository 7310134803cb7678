from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from ixmodal.engine.messages import Load
from ixmodal.models import demo
from ixmodal.models.inspect import inspect
from ixmodal.models.memory import Need
from ixmodal.runtime.memory import MIB, Gpu, MemoryGauge, free_host_memory, gpus, need_for

DEMO = Path(demo.__path__[0]) / "demo.gguf"

NOTHING = Need(0, 0, 0, 0, 0)


def needs(host: int, gpu: int = 0) -> Need:
    return Need(0, 0, 0, host, gpu)


def load(**fields: object) -> Load:
    return Load(backend="ctransformers", path=str(DEMO), slots=2, batch_size=64, threads=1, **fields)  # type: ignore[arg-type]  # any fields


def test_a_load_takes_what_the_model_does_and_a_process() -> None:
    memory = inspect(DEMO).memory
    short, long = need_for(load(context_length=100)), need_for(load(context_length=200))
    assert long.cache - short.cache == 2 * 100 * memory.cache_per_token
    assert short.host > short.weights + short.cache + short.work
    assert need_for(load(gpu_layers=1000)).gpu == need_for(load(gpu_layers=memory.blocks + 3)).gpu > 0


def test_what_is_no_model_needs_nothing(tmp_path: Path) -> None:
    assert need_for(Load(backend="scripted", path="scripted", slots=1, batch_size=1, threads=1)) == NOTHING
    damaged = tmp_path / "m.gguf"
    damaged.write_bytes(b"GGUF nonsense")
    assert need_for(Load(backend="x", path=str(damaged), slots=1, batch_size=1, threads=1)) == NOTHING


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{500 * MIB}\n")
    (tmp_path / "memory.current").write_text(f"{400 * MIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {30 * MIB}\nactive_file {20 * MIB}\n")
    assert free_host_memory(tmp_path) == 150 * MIB
    (tmp_path / "memory.max").write_text("max\n")
    assert free_host_memory(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.5)
    assert free_host_memory(tmp_path / "none") > 0


def test_a_budget_is_what_all_models_take_together() -> None:
    gauge = MemoryGauge(100 * MIB)
    assert gauge.lacking(needs(60 * MIB), held=40 * MIB) is None
    error = gauge.lacking(needs(60 * MIB), held=41 * MIB)
    assert error
    assert (error.kind, error.free_mib, error.required_mib, error.missing_mib) == ("memory", 59, 60, 1)


def test_without_a_budget_what_is_free_counts() -> None:
    gauge = MemoryGauge(None)
    assert gauge.lacking(needs(MIB), held=10**15) is None
    assert gauge.lacking(needs(10**15), held=0)


def test_without_a_driver_there_is_no_gpu() -> None:
    assert gpus() == []


def test_gpu_memory_is_judged_where_a_driver_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ixmodal.runtime.memory.gpus", lambda: [Gpu("card", 100 * MIB, 30 * MIB)])
    error = MemoryGauge(None).lacking(needs(0, 31 * MIB), held=0)
    assert error
    assert (error.kind, error.free_mib, error.required_mib) == ("vram", 30, 31)
    assert MemoryGauge(None).lacking(needs(0, 30 * MIB), held=0) is None


def test_so_does_one_of_control_groups_of_version_1(tmp_path: Path) -> None:
    group = tmp_path / "memory"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(f"{500 * MIB}\n")
    (group / "memory.usage_in_bytes").write_text(f"{400 * MIB}\n")
    rows = f"inactive_file 7\nactive_file 7\ntotal_inactive_file {30 * MIB}\ntotal_active_file {20 * MIB}\n"
    (group / "memory.stat").write_text(rows)
    assert free_host_memory(tmp_path) == 150 * MIB
    (group / "memory.limit_in_bytes").write_text("9223372036854771712\n")  # its way to say that there is none
    assert free_host_memory(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.5)
