from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from ixmodal.engine.messages import Load
from ixmodal.models import demo
from ixmodal.models.inspect import inspect
from ixmodal.runtime.memory import MIB, MemoryGauge, Need, free_host_memory, need_of

DEMO = Path(demo.__path__[0]) / "demo.gguf"


def load(**fields: object) -> Load:
    return Load(backend="ctransformers", path=str(DEMO), slots=2, batch_size=64, threads=1, **fields)  # type: ignore[arg-type]  # any fields


def test_a_model_needs_its_weights_and_a_cache_for_each_token_of_each_slot() -> None:
    memory = inspect(DEMO).memory
    short, long = need_of(load(context_length=100)), need_of(load(context_length=200))
    assert long.host - short.host == 2 * 100 * memory.cache_per_token
    assert short.host > memory.weights + 2 * 100 * memory.cache_per_token
    assert short.gpu == 0


def test_what_is_offloaded_needs_gpu_memory() -> None:
    none, half, every = (need_of(load(gpu_layers=n)) for n in (0, inspect(DEMO).memory.blocks // 2, 1000))
    assert none.gpu == 0
    assert 0 < half.gpu < every.gpu
    assert none.host == every.gpu + every.host


def test_what_is_no_model_needs_nothing(tmp_path: Path) -> None:
    assert need_of(Load(backend="scripted", path="scripted", slots=1, batch_size=1, threads=1)) == Need(0)
    damaged = tmp_path / "m.gguf"
    damaged.write_bytes(b"GGUF nonsense")
    assert need_of(Load(backend="x", path=str(damaged), slots=1, batch_size=1, threads=1)) == Need(0)


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
    assert gauge.lacking(Need(60 * MIB), held=40 * MIB) is None
    error = gauge.lacking(Need(60 * MIB), held=41 * MIB)
    assert error
    assert (error.kind, error.free_mib, error.required_mib, error.missing_mib) == ("memory", 59, 60, 1)


def test_without_a_budget_what_is_free_counts() -> None:
    gauge = MemoryGauge(None)
    assert gauge.lacking(Need(MIB), held=10**15) is None
    assert gauge.lacking(Need(10**15), held=0)
