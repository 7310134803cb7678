"""Slots on one copy of the weights: what they compute is what ctransformers' own class computes, to the bit."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ixmodal.backends import llama_2023
from ixmodal.backends.base import Chunk, LoadParams
from ixmodal.backends.cpu import library_variant
from ixmodal.backends.ctransformers import CtransformersBackend, _library
from ixmodal.backends.ctransformers_llama import LlamaContexts
from ixmodal.backends.ctransformers_wrapper import WrapperContexts
from ixmodal.errors import EngineError, WeightsError
from ixmodal.models.inspect import inspect
from ixmodal.models.memory import MAX_CONTEXTS
from tests.backends.native import in_child
from tests.support.gguf_files import TINY, load_params, write_tiny

PROMPT = [1, *range(300, 340)]
SLOTS = 3


@pytest.fixture
def backend(tiny_model: Path) -> Iterator[CtransformersBackend]:
    loaded = CtransformersBackend(load_params(tiny_model, slots=SLOTS, batch_size=64))
    yield loaded
    loaded.close()


def wrapper(params: LoadParams) -> WrapperContexts:
    return WrapperContexts(_library(), library_variant(), "gguf", params, inspect(Path(params.path)).context_length)


def test_gguf_slots_share_the_weights_and_can_be_copied_and_scored(backend: CtransformersBackend) -> None:
    assert isinstance(backend._contexts, LlamaContexts)
    assert backend.can_copy
    assert backend.can_score
    assert not backend.can_pool


def test_layers_on_a_gpu_and_other_platforms_take_the_librarys_own_class(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ixmodal.backends.ctransformers.library_variant", lambda: None)
    loaded = CtransformersBackend(load_params(tiny_model, slots=2))
    assert isinstance(loaded._contexts, WrapperContexts)
    assert not loaded.can_copy
    assert not loaded.can_score
    loaded.forward([Chunk(0, PROMPT, 0)])
    for refused in (lambda: loaded.scores(0), lambda: loaded.copy(0, 1, 3), lambda: loaded.save(0, 3)):
        with pytest.raises(EngineError):
            refused()


SHAPES: list[dict[str, Any]] = [{}, {"kv_heads": 4, "blocks": 3}, {"type": "Q8_0"}]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_whatever_slots_do_their_logits_are_the_wrappers_to_the_bit(tmp_path: Path, shape: dict[str, Any]) -> None:
    params = load_params(write_tiny(tmp_path / "m.gguf", **shape), slots=SLOTS, batch_size=16)
    ours, theirs, chance = CtransformersBackend(params), wrapper(replace(params, slots=1)), random.Random(1)
    held: list[list[list[int]]] = [[] for _ in range(SLOTS)]  # the chunks that each slot was given
    saved: list[tuple[bytes, list[list[int]]]] = []

    def evaluate(slot: int) -> None:
        parts = [] if sum(map(len, held[slot])) > 150 or chance.random() < 0.2 else held[slot]
        tokens = [chance.randrange(600) for _ in range(chance.choice([1, 2, 7, 30]))]
        past, scores = sum(map(len, parts)), chance.random() < 0.3
        ours.forward([Chunk(slot, tokens, past, scores=scores)])
        held[slot], at = [*parts, tokens], 0
        for part in held[slot]:
            theirs.evaluate(Chunk(0, part, at))
            at += len(part)
        np.testing.assert_array_equal(ours.logits(slot), theirs.logits(0))
        np.testing.assert_array_equal(ours.embedding(slot), theirs.embedding(0))

    def part_of(slot: int) -> tuple[list[list[int]], int]:
        parts = held[slot][: chance.randint(1, len(held[slot]))]
        return parts, sum(map(len, parts))

    def copy(slot: int) -> None:
        parts, count = part_of(slot)
        ours.copy(slot, (slot + 1) % SLOTS, count)
        held[(slot + 1) % SLOTS] = parts

    def save(slot: int) -> None:
        parts, count = part_of(slot)
        saved.append((bytes(ours.save(slot, count)), parts))

    def restore(slot: int) -> None:
        state, parts = chance.choice(saved)
        ours.restore(slot, state)
        held[slot] = list(parts)

    for slot in range(SLOTS):
        evaluate(slot)
    save(0)
    acts: list[Callable[[int], None]] = [evaluate] * 6 + [copy, save, restore]
    for _ in range(150):
        chance.choice(acts)(chance.randrange(SLOTS))


@pytest.mark.parametrize("batch_size", [64, 16])
def test_scores_are_the_logits_after_each_token(tiny_model: Path, batch_size: int) -> None:
    backend = CtransformersBackend(load_params(tiny_model, slots=2, batch_size=batch_size))
    backend.forward([Chunk(0, PROMPT[:5], 0)])
    backend.forward([Chunk(0, PROMPT[5:], 5, scores=True)])
    scores = backend.scores(0).copy()
    assert scores.shape == (len(PROMPT) - 5, 600)
    np.testing.assert_array_equal(backend.logits(0), scores[-1])
    for at, row in enumerate(scores, start=5):
        if at == 5:
            backend.forward([Chunk(1, PROMPT[:5], 0)])
        backend.forward([Chunk(1, [PROMPT[at]], at)])
        np.testing.assert_allclose(backend.logits(1), row, atol=2e-3)
    backend.forward([Chunk(0, [300], len(PROMPT))])
    with pytest.raises(EngineError, match="all tokens"):
        backend.scores(0)
    assert backend.logits(0).shape == (600,)


def test_a_state_holds_no_more_than_its_tokens(backend: CtransformersBackend) -> None:
    backend.forward([Chunk(0, PROMPT, 0, scores=True)])  # the logits that are reserved for it stay out of it
    short, long = backend.save(0, 10), backend.save(0, 40)
    assert len(long) == 4 * len(short) == 40 * TINY.blocks * (TINY.width // 2) * 2 * 2


def test_what_is_no_state_is_refused_and_the_slot_goes_on(backend: CtransformersBackend) -> None:
    backend.forward([Chunk(0, PROMPT, 0)])
    expected, state = backend.logits(0).copy(), bytes(backend.save(0, 20))
    whole = len(state) // 20 * (TINY.context_length + 1)
    for wrong in (b"", state[:-1], state + b"\0", bytes(whole)):
        with pytest.raises(EngineError):
            backend.restore(1, wrong)
        with pytest.raises(EngineError, match="said to be cached"):
            backend.forward([Chunk(1, [5], 1)])
    backend.restore(1, state)
    with pytest.raises(EngineError, match="no logits"):
        backend.logits(1)
    backend.forward([Chunk(1, PROMPT[20:], 20)])
    np.testing.assert_allclose(backend.logits(1), expected, atol=2e-3)


WRONG: list[Callable[[CtransformersBackend], None]] = [
    lambda backend: backend.copy(0, 1, 42),
    lambda backend: backend.copy(0, 0, 3),
    lambda backend: backend.copy(1, 0, 1),
    lambda backend: backend.copy(0, 3, 1),
    lambda backend: backend.copy(-1, 0, 0),
    lambda backend: backend.copy(0, 1, -1),
    lambda backend: backend.save(0, 0) and None,
    lambda backend: backend.save(0, 42) and None,
    lambda backend: backend.restore(3, b"1234"),
    lambda backend: backend.forward([Chunk(1, [5], 1)]),
    lambda backend: backend.forward([Chunk(3, [5], 0)]),
]


@pytest.mark.parametrize("wrong", WRONG, ids=map(str, range(len(WRONG))))
def test_what_a_slot_does_not_hold_is_refused(
    backend: CtransformersBackend, wrong: Callable[[CtransformersBackend], None]
) -> None:
    backend.forward([Chunk(0, PROMPT, 0)])
    with pytest.raises(EngineError):
        wrong(backend)
    backend.copy(0, 1, 41)  # and it goes on
    backend.copy(0, 2, 0)


def test_a_closed_model_is_an_error(backend: CtransformersBackend) -> None:
    backend.forward([Chunk(0, PROMPT, 0)])
    backend.close()
    for use in (lambda: backend.forward([Chunk(0, [1], 0)]), lambda: backend.save(0, 1), lambda: backend.logits(0)):
        with pytest.raises(EngineError, match="closed"):
            use()


def test_more_slots_than_ggml_has_contexts_are_refused_before_it_crashes(tiny_model: Path) -> None:
    most = MAX_CONTEXTS
    results = in_child(None, [("load", [str(tiny_model), {"slots": slots}]) for slots in (most + 1, most)])
    assert results == [
        {"error": "WeightsError", "message": f"ctransformers holds {most} slots at most, not {most + 1}"},
        "loaded",
    ]


def test_as_many_slots_as_there_may_be_are_evaluated_and_copied(tiny_model: Path) -> None:
    slots = MAX_CONTEXTS
    operations: list[tuple[str, Any]] = [("load", [str(tiny_model), {"slots": slots}]), ("forward", [PROMPT, 0])]
    loaded, token, copied = in_child(None, [*operations, ("copy", [0, slots - 1, 20])])
    assert (loaded, copied) == ("loaded", 20)
    assert 0 <= token < 600


def test_a_batch_beyond_the_librarys_work_space_is_evaluated_in_parts(tiny_model: Path) -> None:
    fields = {"batch_size": 2000, "context_length": 2048}
    operations: list[tuple[str, Any]] = [("load", [str(tiny_model), fields]), ("forward", [[300] * 2000, 0])]
    loaded, token = in_child(None, operations)
    assert loaded == "loaded"
    assert 0 <= token < 600


def test_another_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"not ctransformers 0\.2\.27's"):
        llama_2023.load_llama("libc.so.6")
    path = importlib.import_module("ctransformers.lib").find_library(library_variant())
    llama_2023.load_llama(path)
    monkeypatch.setitem(llama_2023._DEFAULTS, "rope_freq_scale", 0.5)
    with pytest.raises(WeightsError, match=r"its default parameters are .*'rope_freq_scale': 1\.0"):
        llama_2023.load_llama(path)


def test_the_librarys_own_class_is_kept_from_what_ends_the_process(tiny_model: Path) -> None:
    with pytest.raises(WeightsError, match="31 slots at most"):
        wrapper(load_params(tiny_model, slots=32))
    contexts = WrapperContexts(_library(), library_variant(), "gguf", load_params(tiny_model, batch_size=2000), 2048)
    contexts.evaluate(Chunk(0, [300] * 2000, 0))
    assert np.isfinite(contexts.logits(0)).all()
