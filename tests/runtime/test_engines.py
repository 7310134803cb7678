"""What an engine process is told to load, and that weights about to be mapped are read ahead, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ixmodal.runtime import Runtime, find_load
from ixmodal.runtime.engines import cache_type_of
from ixmodal.spec import App, Model


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, int]]:
    """Whatever is read ahead, with the room that it may take."""
    found: list[tuple[Path, int]] = []
    monkeypatch.setattr("ixmodal.runtime.engines._read_ahead.begin", lambda *what: found.append(what))
    monkeypatch.setattr("ixmodal.runtime.engines.free_host_memory", lambda: 12345)
    return found


def model(path: Path, **fields: Any) -> Model:
    return Model("tiny", source=f"file://{path}", **fields)


@pytest.mark.parametrize(
    ("fields", "is_read"), [({}, True), ({"load": "request"}, False), ({"mmap": False}, False)], ids=str
)
def test_what_a_start_will_load_is_read_from_the_first_moment(
    tiny_model: Path, read: list[tuple[Path, int]], fields: dict[str, Any], is_read: bool
) -> None:
    Runtime(App(models=(model(tiny_model, **fields),))).check()
    assert read == ([(tiny_model, 12345)] if is_read else [])


@pytest.mark.parametrize("fields", [{}, {"load": "request"}], ids=str)
async def test_so_is_what_is_loaded_later(
    tiny_model: Path, read: list[tuple[Path, int]], fields: dict[str, Any]
) -> None:
    declared = model(tiny_model, **fields)
    await find_load(declared, App(models=(declared,)), lambda *_: None)
    assert read == [(tiny_model, 12345)]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"context_length": 256}, "bf16"),
        ({"context_length": 257}, "f16"),
        ({}, "f16"),
        ({"context_length": 256, "cache_type": "q8_0"}, "q8_0"),
        ({"context_length": 256, "flash_attention": False}, "f16"),
        ({"context_length": 256, "flash_attention": True}, "f16"),
        ({"context_length": 256, "gpu_layers": 1}, "f16"),
        ({"context_length": 4096, "cache_type": "bf16"}, "bf16"),
    ],
    ids=str,
)
def test_short_contexts_are_kept_in_bfloat16_where_the_processor_computes_with_it(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], kind: str
) -> None:
    declared = Model("m", engine="llama_cpp", **fields)
    monkeypatch.setattr("ixmodal.runtime.engines.has_bfloat16", lambda: True)
    assert cache_type_of(declared, "llama_cpp") == kind
    assert cache_type_of(Model("m", context_length=256), "ctransformers") == "f16"
    monkeypatch.setattr("ixmodal.runtime.engines.has_bfloat16", lambda: False)
    assert cache_type_of(declared, "llama_cpp") == (declared.cache_type or "f16")
