"""Slots copied, saved and restored by the real library."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ixmodal.backends.base import Chunk
from ixmodal.backends.llama_cpp import LlamaCppBackend
from ixmodal.errors import EngineError
from tests.support.gguf_files import load_params, tiny_model, write_tiny

__all__ = ["tiny_model"]
PROMPT = [1, *range(300, 340)]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"flash_attention": False},
    {"flash_attention": True},
    {"cache_type": "q8_0"},
    {"cache_type": "bf16"},
    {"cache_type": "bf16", "flash_attention": False},
]


@pytest.fixture
def backend(tiny_model: Path) -> Iterator[LlamaCppBackend]:
    loaded = LlamaCppBackend(load_params(tiny_model, slots=3, batch_size=64))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "wide.gguf"
    return write_tiny(path, width=128, heads=4, **{"llama.rope.dimension_count": 32})


def greedy(backend: LlamaCppBackend, slot: int, pending: list[int], past: int, count: int = 12) -> list[int]:
    said = list[int]()
    for _ in range(count):
        backend.forward([Chunk(slot, pending, past)])
        past += len(pending)
        pending = [int(backend.logits(slot).argmax())]
        said += pending
    return said


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_copy_goes_on_as_the_original_would(wide: Path, options: dict[str, Any]) -> None:
    backend = LlamaCppBackend(load_params(wide, slots=3, batch_size=64, **options))
    expected = greedy(backend, 2, PROMPT, 0)
    backend.forward([Chunk(0, PROMPT, 0)])
    backend.forward([Chunk(0, [500, 501, 502], len(PROMPT))])  # the source is further on
    backend.forward([Chunk(1, [7] * 60, 0)])
    backend.copy(0, 1, 30)
    assert greedy(backend, 1, PROMPT[30:], 30) == expected
    assert greedy(backend, 0, PROMPT[20:], 20) == expected  # and the source is as it was
    backend.close()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_state_goes_on_in_any_slot_and_in_another_life(wide: Path, options: dict[str, Any]) -> None:
    params = load_params(wide, slots=3, batch_size=64, **options)
    first = LlamaCppBackend(params)
    expected = greedy(first, 0, PROMPT, 0)
    state = bytes(first.save(0, 30))
    first.forward([Chunk(0, [9] * 50, 0)])
    first.restore(2, state)
    assert greedy(first, 2, PROMPT[30:], 30) == expected
    first.close()
    second = LlamaCppBackend(params)
    second.restore(1, state)
    assert greedy(second, 1, PROMPT[30:], 30) == expected
    with pytest.raises(EngineError, match="said to be cached"):
        second.forward([Chunk(0, [1], 30)])
    second.close()


def test_copies_between_forwards_of_all_slots(backend: LlamaCppBackend) -> None:
    alone = [greedy(backend, 0, [*PROMPT, 400 + n], 0) for n in range(3)]
    backend.forward([Chunk(0, PROMPT, 0)])
    backend.copy(0, 1, len(PROMPT))
    backend.copy(1, 2, len(PROMPT))
    said: list[list[int]] = [[], [], []]
    pending, past = [[400 + n] for n in range(3)], len(PROMPT)
    for _ in range(12):
        backend.forward([Chunk(n, pending[n], past) for n in range(3)])
        past += 1
        for n in range(3):
            pending[n] = [int(backend.logits(n).argmax())]
            said[n] += pending[n]
    assert said == alone


def test_what_must_not_reach_native_code(backend: LlamaCppBackend) -> None:
    backend.forward([Chunk(0, PROMPT, 0)])
    state = bytes(backend.save(0, len(PROMPT)))
    for source, target, count in [(0, 0, 3), (0, 1, 42), (1, 0, 1), (9, 0, 0), (-1, 0, 0), (0, 9, 1), (0, 1, -1)]:
        with pytest.raises(EngineError):
            backend.copy(source, target, count)
    for slot, count in [(0, 42), (1, 1), (3, 0), (0, -1)]:
        with pytest.raises(EngineError):
            backend.save(slot, count)
    chance = random.Random(1)
    for wrong in (b"", b"\0", state[:20], state[: len(state) // 2], state + b"x", chance.randbytes(5000)):
        with pytest.raises(EngineError, match="refused"):
            backend.restore(1, wrong)
        with pytest.raises(EngineError, match="said to be cached"):
            backend.forward([Chunk(1, [1], 1)])
    backend.restore(1, state)
    backend.forward([Chunk(1, [350], len(PROMPT)), Chunk(0, [350], len(PROMPT))])
    np.testing.assert_allclose(backend.logits(1), backend.logits(0), atol=1e-4)


def test_a_closed_model_saves_nothing(tiny_model: Path) -> None:
    backend = LlamaCppBackend(load_params(tiny_model))
    backend.close()
    with pytest.raises(EngineError, match="closed"):
        backend.save(0, 0)
