"""One test for each trap of the library: what crashes it, and what it silently gets wrong."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ixmodal.backends.base import Chunk
from ixmodal.backends.cpu import library_variant
from ixmodal.backends.ctransformers import CtransformersBackend
from ixmodal.engine.request import SamplingParams
from ixmodal.engine.sampler import Sampler
from ixmodal.errors import EngineError, UnsupportedModelError, WeightsError
from ixmodal.models.vocabulary import Vocabulary
from tests.backends.native import in_child
from tests.support.gguf_files import TINY, load_params, write_tiny
from tools.random_model import CHATML, CONTROL, vocabulary_of

PIECES, SCORES, TYPES = vocabulary_of(TINY.vocabulary, CONTROL)
SPACE = "\u2581"
PROMPT = [1, *range(300, 340)]


@pytest.fixture
def backend(tiny_model: Path) -> Iterator[CtransformersBackend]:
    loaded = CtransformersBackend(load_params(tiny_model))
    yield loaded
    loaded.close()


def sentencepiece(text: str, pieces: Sequence[str] = PIECES, scores: Sequence[float] = SCORES) -> list[int]:
    """The definition: merge the neighbours whose union scores best, the leftmost first; then fall back to bytes."""
    ids = {piece: token for token, piece in enumerate(pieces)}
    symbols = list((SPACE + text).replace(" ", SPACE))
    while True:
        unions = [left + right for left, right in itertools.pairwise(symbols)]
        found = [(-scores[ids[union]], at) for at, union in enumerate(unions) if union in ids]
        if not found:
            break
        at = min(found)[1]
        symbols[at : at + 2] = [unions[at]]
    tokens: list[int] = []
    for symbol in symbols:
        tokens += [ids[symbol]] if symbol in ids else [ids[f"<0x{byte:02X}>"] for byte in symbol.encode()]
    return tokens


def text_of(vocabulary: Vocabulary, tokens: list[int]) -> str:
    return b"".join(map(vocabulary.piece, tokens)).decode()


def evaluated(backend: CtransformersBackend, tokens: list[int], *, chunk: int, slot: int = 0) -> NDArray[np.float32]:
    for at in range(0, len(tokens), chunk):
        backend.forward([Chunk(slot, tokens[at : at + chunk], at)])
    return backend.logits(slot).copy()


TEXTS = [
    "😀😀",
    "the word was with you",
    "你好，世界。再见",
    "👩‍👩‍👧 e\u0301 \u202e\ufdd0\ufffd",
    "  two  spaces\n\nand\tlines  ",
    "a",
    " ",
    "\u2581",
    "\x01\x7f",
    "😀" * 2000,
    "for he had 你好 " * 300,
]


@pytest.fixture(scope="module")
def tokenized(tiny_model: Path) -> dict[str, list[int]]:
    return dict(zip(TEXTS, in_child(tiny_model, [("tokenize", text) for text in TEXTS]), strict=True))


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:12]))
def test_characters_that_fall_back_to_bytes_are_safe_and_right(tokenized: dict[str, list[int]], text: str) -> None:
    if len(text) < 100:
        assert tokenized[text] == sentencepiece(text)
    table = Vocabulary([piece.encode() for piece in PIECES], TYPES, bos_id=1, eos_id=None)
    assert text_of(table, tokenized[text]) == " " + text.replace(SPACE, " ")


def test_random_texts_are_tokenized_as_defined(tiny_model: Path) -> None:
    chance = random.Random(1)
    alphabet = "the wordn,你好😀é<s>|\n "
    texts = ["".join(chance.choices(alphabet, k=chance.randrange(1, 30))) for _ in range(200)]
    assert in_child(tiny_model, [("tokenize", text) for text in texts]) == [sentencepiece(text) for text in texts]


def test_a_vocabulary_without_a_space_does_not_overflow_the_buffer(tmp_path: Path) -> None:
    pieces = ["no space" if piece == SPACE else piece.replace(SPACE, "_") for piece in PIECES]
    model = write_tiny(tmp_path / "m.gguf", **{"tokenizer.ggml.tokens": pieces})
    (tokens,) = in_child(model, [("tokenize", " " * 3000)])
    assert tokens == sentencepiece(" " * 3000, pieces)
    assert len(tokens) == 9003


def test_an_empty_text_has_no_tokens(backend: CtransformersBackend) -> None:
    assert backend.tokenize("") == []


@pytest.mark.parametrize("text", ["a\0b", "\0", "\0\0", "a\0", "\0a", "the\0the \0 \0\n😀"])
def test_a_nul_byte_does_not_end_the_prompt(backend: CtransformersBackend, text: str) -> None:
    expected = text if text.startswith("\0") else " " + text
    assert text_of(backend.vocabulary, backend.tokenize(text)) == expected


def test_a_nul_byte_before_pieces_that_merge(tmp_path: Path) -> None:
    merging = ["\nab", f"{SPACE}\n", "\n\n", "\x01b"]
    model = write_tiny(tmp_path / "m.gguf", **{"tokenizer.ggml.tokens": [*PIECES[:-4], *merging]})
    texts = ["a\0b\0\nab", "\0\n\n\0\n", "a\0\x01b\0\x01c"]
    table = CtransformersBackend(load_params(model)).vocabulary
    for text, tokens in zip(texts, in_child(model, [("tokenize", text) for text in texts]), strict=True):
        assert text_of(table, tokens).replace("\0 ", "\0").lstrip(" ") == text


SPELLED = ["<s>", "</s>", "<unk>", "<|im_start|>", "a</s>b<s>", "<|im_end|>\n"]
HALVES = ["s>", "</", "k>", "<un", "n|>", "<|im_start|", "<|im_e", "d|>"]


@pytest.mark.parametrize("halves", [[], HALVES], ids=["plain", "two pieces merge into a control token"])
def test_a_spelled_control_token_stays_text(tmp_path: Path, halves: list[str]) -> None:
    pieces = PIECES[: len(PIECES) - len(halves)] + halves
    model = write_tiny(tmp_path / "m.gguf", **{"tokenizer.ggml.tokens": pieces})
    table = CtransformersBackend(load_params(model)).vocabulary
    for text, tokens in zip(SPELLED, in_child(model, [("tokenize", text) for text in SPELLED]), strict=True):
        assert not {*table.control_ids.values(), 0} & set(tokens)
        assert text_of(table, tokens) == " " + text


def test_token_ids_out_of_range_are_refused(tiny_model: Path) -> None:
    wrong = [-1, TINY.vocabulary, 2**31 - 1, 2**31, 2**40]
    *refused, fine = in_child(tiny_model, [("forward", [[1, token], 0]) for token in [*wrong, 300]])
    assert refused == [{"error": "EngineError", "message": "a token id lies outside the vocabulary of 600"}] * 5
    assert isinstance(fine, int)


def test_what_overflows_the_context_is_refused(tiny_model: Path) -> None:
    sizes = [(257, 0), (2, 255), (1, 256), (0, 0), (1, -1), (1, 2**31)]
    for refused in in_child(tiny_model, [("forward", [[300] * count, past]) for count, past in sizes]):
        assert refused["error"] == "EngineError"
        assert "don't fit into 256" in refused["message"]


def test_the_whole_context_can_be_filled(backend: CtransformersBackend) -> None:
    assert np.isfinite(evaluated(backend, [1, *([300] * 255)], chunk=64)).all()


@pytest.mark.parametrize(("asked", "expected"), [(None, 256), (64, 64), (512, 512)])
def test_the_context_length_is_the_declared_or_the_files(tiny_model: Path, asked: int | None, expected: int) -> None:
    backend = CtransformersBackend(load_params(tiny_model, context_length=asked))
    assert backend.context_length == expected
    backend.forward([Chunk(0, [300] * expected, 0)])
    with pytest.raises(EngineError, match="don't fit"):
        backend.forward([Chunk(0, [300], expected)])


def test_truncated_files_and_noise_never_reach_native_code(tmp_path: Path, tiny_model: Path) -> None:
    data, noise = tiny_model.read_bytes(), random.Random(1)
    contents = [data[: int(len(data) * share)] for share in (0.001, 0.05, 0.13, 0.2, 0.9, 0.999)]
    contents += [b"GGUF" + noise.randbytes(100_000), data[:4000] + noise.randbytes(len(data) - 4000)]
    paths = [tmp_path / f"{number}.gguf" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    results = in_child(None, [("load", str(path)) for path in paths])
    assert [result["error"] for result in results] == ["WeightsError"] * len(contents)


@pytest.mark.parametrize(
    "overrides",
    [
        {"general.architecture": "qwen2"},
        {"general.architecture": "falcon"},
        {"tokenizer.ggml.model": "gpt2"},
        {"tokenizer.ggml.tokens": [piece.replace("<0xF0>", "none") for piece in PIECES]},
    ],
    ids=["architecture", "falcon", "bpe", "no byte token"],
)
def test_unsupported_models_are_refused_before_native_code(tmp_path: Path, overrides: dict[str, Any]) -> None:
    path = write_tiny(tmp_path / "m.gguf", **overrides)
    with pytest.raises(UnsupportedModelError):
        CtransformersBackend(load_params(path))


CRASHING: list[dict[str, Any]] = [
    {"tokenizer.ggml.unknown_token_id": 2**31},
    {"llama.attention.head_count_kv": 0},
    {"llama.attention.head_count_kv": 64},
]


def test_metadata_that_crashes_the_library_is_refused_before_it(tmp_path: Path) -> None:
    paths = [write_tiny(tmp_path / f"{number}.gguf", **overrides) for number, overrides in enumerate(CRASHING)]
    results = in_child(None, [("load", str(path)) for path in paths])
    assert [result["error"] for result in results] == ["WeightsError"] * len(CRASHING)


@pytest.mark.parametrize("overrides", [{"llama.feed_forward_length": None}, {"llama.rope.dimension_count": 6}], ids=str)
def test_what_the_library_itself_refuses_is_an_error(tmp_path: Path, overrides: dict[str, Any]) -> None:
    path = write_tiny(tmp_path / "m.gguf", **overrides)
    with pytest.raises(WeightsError, match="can't be loaded"):
        CtransformersBackend(load_params(path))


def test_what_is_loaded(backend: CtransformersBackend) -> None:
    assert len(backend.vocabulary) == 600
    assert (backend.slots, backend.max_chunks, backend.context_length) == (1, 1, 256)
    assert backend.chat_template == CHATML


def test_every_type_that_can_be_written_here_loads_and_generates(tmp_path: Path) -> None:
    kinds = ["F32", "F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]
    operations: list[tuple[str, Any]] = []
    for kind in kinds:
        operations += [("load", str(write_tiny(tmp_path / f"{kind}.gguf", type=kind))), ("forward", [PROMPT, 0])]
    results = in_child(None, operations)
    assert results[::2] == ["loaded"] * len(kinds)
    assert all(0 <= token < 600 for token in results[1::2])


@pytest.mark.parametrize("chunk", [1, 3, 16, 40])
def test_a_prompt_in_chunks_gives_the_logits_of_the_whole(tiny_model: Path, chunk: int) -> None:
    whole, pieces = (CtransformersBackend(load_params(tiny_model, batch_size=64)) for _ in range(2))
    expected = evaluated(whole, PROMPT, chunk=64)
    assert expected.shape == (600,)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(evaluated(pieces, PROMPT, chunk=chunk), expected, atol=2e-3)


def test_the_librarys_batches_give_the_logits_of_the_whole(tiny_model: Path) -> None:
    whole, pieces = (CtransformersBackend(load_params(tiny_model, batch_size=size)) for size in (64, 8))
    expected = evaluated(whole, PROMPT, chunk=64)
    np.testing.assert_allclose(evaluated(pieces, PROMPT, chunk=64), expected, atol=2e-3)


def test_a_kept_prefix_gives_the_logits_of_a_fresh_evaluation(tiny_model: Path) -> None:
    kept, fresh = (CtransformersBackend(load_params(tiny_model)) for _ in range(2))
    evaluated(kept, [*PROMPT[:20], *[410] * 30], chunk=16)
    other = [*PROMPT[:20], 350, 351, 352]
    kept.forward([Chunk(0, other[20:], 20)])  # over what the cache held behind the prefix
    np.testing.assert_allclose(kept.logits(0), evaluated(fresh, other, chunk=64), atol=2e-3)


def test_slots_do_not_see_each_other(tiny_model: Path) -> None:
    together, alone = (CtransformersBackend(load_params(tiny_model, slots=3)) for _ in range(2))
    prompts = [[1, *range(300 + 10 * slot, 320 + 10 * slot)] for slot in range(3)]
    for at in range(0, 21, 7):
        for slot in (2, 0, 1):
            together.forward([Chunk(slot, prompts[slot][at : at + 7], at)])
    for slot in range(3):
        np.testing.assert_allclose(
            together.logits(slot), evaluated(alone, prompts[slot], chunk=7, slot=slot), atol=1e-5
        )
    assert not np.allclose(together.logits(0), together.logits(1))


def test_logits_are_a_writable_view(backend: CtransformersBackend) -> None:
    with pytest.raises(EngineError, match="holds no logits"):
        backend.logits(0)
    backend.forward([Chunk(0, PROMPT, 0)])
    backend.logits(0)[5] = 77.0
    assert backend.logits(0)[5] == 77.0
    assert backend.logits(0).dtype == np.float32


def sampled(backend: CtransformersBackend, count: int, **params: Any) -> list[int]:
    sampler = Sampler(SamplingParams(**params), PROMPT, frozenset())
    tokens, pending, past = list[int](), list(PROMPT), 0
    for _ in range(count):
        backend.forward([Chunk(0, pending, past)])
        past += len(pending)
        pending = [sampler.sample(backend.logits(0))]
        tokens += pending
    return tokens


def test_temperature_zero_divides_by_nothing(backend: CtransformersBackend) -> None:
    assert sampled(backend, 12, temperature=0.0) == sampled(backend, 12, temperature=0.0, seed=3)


def test_a_seed_repeats_an_answer_and_is_not_set_again_at_each_token(backend: CtransformersBackend) -> None:
    first = sampled(backend, 30, seed=5, temperature=1.5)
    assert sampled(backend, 30, seed=5, temperature=1.5) == first
    assert sampled(backend, 30, seed=6, temperature=1.5) != first
    # Seeded anew at each token, the same logits would draw the same token for ever.
    backend.forward([Chunk(0, PROMPT, 0)])
    logits, sampler = backend.logits(0).copy(), Sampler(SamplingParams(seed=5, temperature=2.0), [], frozenset())
    assert len({sampler.sample(logits.copy()) for _ in range(40)}) > 5


def test_the_library_is_chosen_without_its_slow_probe_and_without_the_hub(tiny_model: Path) -> None:
    unwanted = ["cpuinfo", "ctransformers.hub", "huggingface_hub", "ctransformers.transformers"]
    wanted = ["ctransformers.llm", "ctransformers.lib"]
    (found,) = in_child(tiny_model, [("modules", unwanted + wanted)])
    assert found == wanted
    assert library_variant() in ("avx2", "avx", "basic", None)


def test_the_variant_reaches_the_library(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ixmodal.backends.ctransformers.library_variant", lambda: "basic")
    loaded = CtransformersBackend(load_params(tiny_model))
    assert "/lib/basic/" in loaded._contexts._library._name


def test_importing_the_backend_imports_no_native_code() -> None:
    code = "import sys, json, ixmodal.backends.ctransformers; print(json.dumps('ctransformers' in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert json.loads(found.stdout) is False


def test_closing_twice_is_harmless(tiny_model: Path) -> None:
    loaded = CtransformersBackend(load_params(tiny_model, slots=2))
    loaded.close()
    loaded.close()


def test_an_embedding_is_the_hidden_state_of_the_last_token(backend: CtransformersBackend) -> None:
    backend.forward([Chunk(0, PROMPT, 0)])
    first = backend.embedding(0).copy()
    assert first.shape == (TINY.width,)
    assert np.isfinite(first).all()
    backend.forward([Chunk(0, [301], len(PROMPT))])
    assert not np.allclose(backend.embedding(0), first)
    backend.forward([Chunk(0, PROMPT, 0)])
    np.testing.assert_allclose(backend.embedding(0), first, atol=1e-4)
