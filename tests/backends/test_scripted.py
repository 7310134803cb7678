from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import numpy as np
import pytest

from ixmodal.backends import load_backend
from ixmodal.backends.base import Chunk
from ixmodal.backends.scripted import ScriptedBackend
from ixmodal.errors import EngineError, WeightsError
from tests.support.gguf_files import load_params

SCRIPTED = load_params(Path("scripted"), slots=2)


def answer(backend: ScriptedBackend, prompt: str, limit: int = 12, slot: int = 0) -> str:
    tokens, past, said = backend.tokenize(prompt), 0, b""
    for _ in range(limit):
        backend.forward([Chunk(slot, tokens, past)])
        past += len(tokens)
        token = int(backend.logits(slot).argmax())
        if token in backend.vocabulary.end_ids:
            break
        said += backend.vocabulary.piece(token)
        tokens = [token]
    return said.decode()


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("say:hello|", "hello"),
        ("first\nsay:no say:你好|", "你好"),
        ("first\nlast line|", "last line"),
        ("say:|", "ok"),
        ("!forever say:ab|", "abababababab"),
        ("user\nsay:x y\nassistant\n", "x y"),
    ],
)
def test_it_says_what_it_is_told(prompt: str, expected: str) -> None:
    assert answer(ScriptedBackend(SCRIPTED), prompt) == expected


def test_slots_have_scripts_of_their_own() -> None:
    backend = ScriptedBackend(SCRIPTED)
    assert answer(backend, "say:one|", slot=0) == "one"
    assert answer(backend, "say:two|", slot=1) == "two"
    assert int(backend.logits(0).argmax()) in backend.vocabulary.end_ids


def test_tokens_are_bytes() -> None:
    backend = ScriptedBackend(SCRIPTED)
    tokens = backend.tokenize("é<s>\0")
    assert b"".join(map(backend.vocabulary.piece, tokens)) == "é<s>\0".encode()
    assert not set(tokens) & set(backend.vocabulary.control_ids.values())


def test_failures_on_request() -> None:
    backend = ScriptedBackend(SCRIPTED)
    with pytest.raises(EngineError, match="this forward fails"):
        answer(backend, "!fail|")
    backend.forward([Chunk(0, backend.tokenize("!nan|"), 0)])
    assert np.isnan(backend.logits(0)).all()
    with pytest.raises(WeightsError, match="can't be loaded"):
        ScriptedBackend(load_params(Path("!fail-load")))


@pytest.mark.parametrize(("prompt", "said"), [("!crash say:abc|", 0), ("!crash-after=2 say:abc|", 2)])
def test_crashes_on_request(prompt: str, said: int) -> None:
    child = multiprocessing.get_context("spawn").Process(
        target=answer, args=(ScriptedBackend(SCRIPTED), prompt, said + 1)
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGSEGV
    if said:
        assert answer(ScriptedBackend(SCRIPTED), prompt, said) == "abc"[:said]


def test_backends_are_found_by_name(tiny_model: Path) -> None:
    assert isinstance(load_backend("scripted", SCRIPTED), ScriptedBackend)
    assert load_backend("ctransformers", load_params(tiny_model)).context_length == 256


def test_what_is_copied_saved_and_restored_goes_on_the_same() -> None:
    backend = ScriptedBackend(SCRIPTED)
    prompt = backend.tokenize("say:abc|")
    backend.forward([Chunk(0, [*prompt, *backend.tokenize("a")], 0)])
    state = backend.save(0, len(prompt))
    backend.copy(0, 1, len(prompt))
    assert backend.vocabulary.piece(int(backend.logits(1).argmax())) == b"a"
    backend.forward([Chunk(0, backend.tokenize("say:other|"), 0)])
    backend.restore(0, state)
    backend.forward([Chunk(0, backend.tokenize("a"), len(prompt))])
    assert backend.vocabulary.piece(int(backend.logits(0).argmax())) == b"b"


def test_what_is_not_held_is_an_error() -> None:
    backend = ScriptedBackend(SCRIPTED)
    backend.forward([Chunk(0, [70, 71], 0)])
    with pytest.raises(EngineError, match="said to be cached"):
        backend.forward([Chunk(0, [70], 3)])
    with pytest.raises(EngineError, match="said to be cached"):
        backend.copy(0, 1, 3)
    with pytest.raises(EngineError, match="said to be cached"):
        backend.save(1, 1)
    with pytest.raises(EngineError, match="no state"):
        backend.restore(0, b"noise")
