"""The llama.cpp engine against the real library, and against what ctransformers makes of the same files."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ixmodal.backends.base import Backend, Chunk
from ixmodal.backends.ctransformers import CtransformersBackend
from ixmodal.backends.llama_cpp import LlamaCppBackend
from ixmodal.errors import EngineError, WeightsError
from tests.llama_cpp.child import load_in_child
from tests.support.gguf_files import TINY, load_params, tiny_model, write_tiny
from tests.support.modern_files import CONTROL, byte_characters, write_qwen2
from tools.random_model import CHATML

__all__ = ["tiny_model"]
DEMO = Path(__file__).parents[2] / "ixmodal/models/demo/demo.gguf"
PROMPT = [1, *range(300, 340)]


@pytest.fixture
def backend(tiny_model: Path) -> Iterator[LlamaCppBackend]:
    loaded = LlamaCppBackend(load_params(tiny_model, slots=4, batch_size=64))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory: pytest.TempPathFactory) -> LlamaCppBackend:
    return LlamaCppBackend(load_params(write_qwen2(tmp_path_factory.mktemp("models") / "q.gguf"), batch_size=64))


def evaluated(backend: Backend, tokens: list[int], *, chunk: int = 64, slot: int = 0) -> NDArray[np.float32]:
    for at in range(0, len(tokens), chunk):
        backend.forward([Chunk(slot, tokens[at : at + chunk], at)])
    return backend.logits(slot).copy()


def close(found: NDArray[np.float32], expected: NDArray[np.float32], tolerance: float = 2e-3) -> None:
    np.testing.assert_allclose(found, expected, atol=tolerance)


def greedy(backend: Backend, prompt: list[int], count: int) -> tuple[list[int], list[NDArray[np.float64]]]:
    tokens, told, pending, past = list[int](), list[NDArray[np.float64]](), prompt, 0
    for _ in range(count):
        backend.forward([Chunk(0, pending, past)])
        past += len(pending)
        logits = backend.logits(0).astype(np.float64)
        told.append(logits - np.logaddexp.reduce(logits))
        pending = [int(logits.argmax())]
        tokens += pending
    return tokens, told


def test_what_is_loaded(backend: LlamaCppBackend) -> None:
    assert (backend.slots, backend.max_chunks, backend.context_length) == (4, 4, TINY.context_length)
    assert (len(backend.vocabulary), backend.chat_template) == (600, CHATML)


@pytest.mark.parametrize("prompt", ["Tell me a story about the sea.", "What is the capital of France?", "x"])
def test_the_shipped_model_says_the_same_as_with_ctransformers(prompt: str) -> None:
    ours, theirs = (kind(load_params(DEMO, batch_size=64)) for kind in (LlamaCppBackend, CtransformersBackend))
    tokens = [1, *ours.tokenize(prompt)]
    (said, told), (expected, wanted) = greedy(ours, tokens, 40), greedy(theirs, tokens, 40)
    assert said == expected
    differences = [abs(told[at][token] - wanted[at][token]) for at, token in enumerate(said)]
    assert max(differences) < 0.25  # the libraries round activations differently
    assert np.mean(differences) < 0.03


def test_texts_are_tokenized_as_by_ctransformers(tiny_model: Path, backend: LlamaCppBackend) -> None:
    other, chance = CtransformersBackend(load_params(tiny_model)), random.Random(1)
    alphabet = "the wordn,你好😀é<s>|\n "
    texts = ["".join(chance.choices(alphabet, k=chance.randrange(1, 30))) for _ in range(300)]
    texts += ["<s>", "</s>", "<|im_start|>", "a</s>b", "😀" * 2000, " " * 3000, "\x01\x7f", ""]
    assert [backend.tokenize(text) for text in texts] == [other.tokenize(text) for text in texts]


@pytest.mark.parametrize("text", ["a\0b", "\0", "a\0", "the\0the \0 \0\n😀"])
def test_a_nul_byte_does_not_end_the_prompt(backend: LlamaCppBackend, text: str) -> None:
    assert b"".join(map(backend.vocabulary.piece, backend.tokenize(text))).decode() == " " + text


HALVES = ["s>", "</", "k>", "<un", "n|>", "<|im_start|", "<|im_e", "d|>"]


def test_pieces_that_merge_into_a_control_token_stay_text(tmp_path: Path, backend: LlamaCppBackend) -> None:
    pieces = [text.decode() for text in backend.vocabulary.texts[: -len(HALVES)]] + HALVES
    loaded = LlamaCppBackend(load_params(write_tiny(tmp_path / "m.gguf", **{"tokenizer.ggml.tokens": pieces})))
    for text in ("<s>", "</s>", "<unk>", "<|im_start|>", "a</s>b<s>", "<|im_end|>\n"):
        tokens = loaded.tokenize(text)
        assert not {*loaded.vocabulary.control_ids.values(), 0} & set(tokens)
        assert b"".join(map(loaded.vocabulary.piece, tokens)).decode() == " " + text


TEXTS = ["the word é😀▁ \0x", "<|im_end|><|im_start|>", "  the\n", "\u0120 is a letter", "e\u0301 你好", "\x01\xad"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_byte_level_vocabulary_gives_every_text_back(qwen2: LlamaCppBackend, text: str) -> None:
    tokens = qwen2.tokenize(text)
    assert b"".join(map(qwen2.vocabulary.piece, tokens)).decode() == text
    assert not set(qwen2.vocabulary.control_ids.values()) & set(tokens)


def test_merges_of_a_byte_level_vocabulary_are_used(qwen2: LlamaCppBackend) -> None:
    assert [qwen2.vocabulary.piece(token) for token in qwen2.tokenize("the word é")] == [
        b"the",
        b" word",
        b" ",
        "é".encode(),
    ]


def test_merges_into_a_control_token_stay_text(tmp_path: Path) -> None:
    merges = ["< |", "<| e", "<|e n", "<|en d", "<|end o", "| >"]
    whole = ["<|endo", "ftext|>"]
    parts = ["<|", "<|e", "<|en", "<|end", "<|endo", "|>"]
    spelled = "<|endoftext|>"
    for end in range(7, len(spelled) + 1):
        merges.append(f"{spelled[: end - 1]} {spelled[end - 1]}")
        parts.append(spelled[:end])
    tokens = [*byte_characters(), *dict.fromkeys([*parts[:-1], *whole[1:]]), *CONTROL]
    loaded = LlamaCppBackend(load_params(write_qwen2(tmp_path / "m.gguf", tokens=tokens, merges=merges)))
    found = loaded.tokenize(spelled)
    assert loaded.vocabulary.control_ids[spelled] not in found
    assert b"".join(map(loaded.vocabulary.piece, found)).decode() == spelled


def test_a_qwen2_model_generates(qwen2: LlamaCppBackend) -> None:
    tokens, _ = greedy(qwen2, qwen2.tokenize("the word"), 20)
    assert len(set(tokens)) > 1
    assert qwen2.context_length == 256


def test_a_batch_of_slots_gives_the_logits_of_each_alone(tiny_model: Path, backend: LlamaCppBackend) -> None:
    alone = LlamaCppBackend(load_params(tiny_model, batch_size=64))
    prompts = [[1, *range(300 + 10 * slot, 310 + 7 * slot + 10)] for slot in range(4)]
    for at in range(0, 8, 4):
        backend.forward([Chunk(slot, prompts[slot][at : at + 4], at) for slot in (2, 0, 3, 1)])
    backend.forward([Chunk(slot, prompts[slot][8:9], 8) for slot in (1, 0)])  # two decode, two wait
    found = {slot: backend.logits(slot).copy() for slot in (0, 1)}
    backend.forward([Chunk(2, prompts[2][8:], 8), Chunk(0, [500], 9)])  # one reads its prompt, one decodes
    close(found[0], evaluated(alone, prompts[0][:9]))
    close(found[1], evaluated(alone, prompts[1][:9]))
    close(backend.logits(2), evaluated(alone, prompts[2]))
    close(backend.logits(0), evaluated(alone, [*prompts[0][:9], 500]))


def test_scores_and_hidden_states_of_all_tokens_are_those_of_one_after_the_other(backend: LlamaCppBackend) -> None:
    expected, states = [], []
    for at, token in enumerate(PROMPT):
        backend.forward([Chunk(3, [token], at, embeds=True)])
        expected.append(backend.logits(3).copy())
        states.append(backend.embedding(3).copy())
    backend.forward([Chunk(0, PROMPT[:10], 0), Chunk(1, PROMPT[:4], 0)])
    whole, last = Chunk(2, PROMPT, 0, embeds=True, scores=True), Chunk(0, PROMPT[10:20], 10)
    part = Chunk(1, PROMPT[4:9], 4, scores=True)
    backend.forward([whole, last, part])
    close(backend.scores(2), np.array(expected))
    close(backend.embeddings(2), np.array(states))
    close(backend.scores(1), np.array(expected[4:9]))
    close(backend.scores(0), np.array(expected[19:20]))
    close(backend.logits(2), expected[-1])
    close(backend.embedding(2), states[-1])


@pytest.mark.parametrize("chunk", [1, 3, 16, 40])
def test_a_prompt_in_chunks_gives_the_logits_of_the_whole(backend: LlamaCppBackend, chunk: int) -> None:
    expected = evaluated(backend, PROMPT, slot=0)
    close(evaluated(backend, PROMPT, chunk=chunk, slot=1), expected)


def test_a_kept_prefix_gives_the_logits_of_a_fresh_evaluation(backend: LlamaCppBackend) -> None:
    evaluated(backend, [*PROMPT[:20], *[410] * 30], chunk=16)
    other = [*PROMPT[:20], 350, 351, 352]
    backend.forward([Chunk(0, other[20:], 20)])  # over what the cache held behind the prefix
    kept = backend.logits(0).copy()
    close(kept, evaluated(backend, other, slot=1))


def test_every_slot_holds_a_whole_context(backend: LlamaCppBackend) -> None:
    for slot in range(backend.slots):
        evaluated(backend, [300] * backend.context_length, slot=slot)
    with pytest.raises(EngineError, match="don't fit"):
        backend.forward([Chunk(0, [300], backend.context_length)])


WRONG = [
    ([Chunk(0, [600], 0)], "outside the vocabulary"),
    ([Chunk(0, [-1], 0)], "outside the vocabulary"),
    ([Chunk(0, [2**40], 0)], "outside the vocabulary"),
    ([Chunk(0, [], 0)], "don't fit"),
    ([Chunk(0, [1], -1)], "don't fit"),
    ([Chunk(0, [1], 2**31)], "don't fit"),
    ([Chunk(0, [1], 50)], "said to be cached"),
    ([Chunk(0, [1] * 65, 0)], "more than a batch"),
    ([Chunk(0, [1] * 33, 0), Chunk(1, [1] * 33, 0)], "more than a batch"),
    ([Chunk(0, [1], 0), Chunk(0, [1], 0)], "different slots"),
    ([Chunk(4, [1], 0)], "different slots"),
    ([Chunk(-1, [1], 0)], "different slots"),
    ([], "different slots"),
]


@pytest.mark.parametrize(("chunks", "why"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_what_must_not_reach_native_code(backend: LlamaCppBackend, chunks: list[Chunk], why: str) -> None:
    expected = evaluated(backend, PROMPT)
    with pytest.raises(EngineError, match=why):
        backend.forward(chunks)
    close(evaluated(backend, PROMPT, slot=1), expected)  # and it goes on


def test_logits_are_a_writable_view_of_the_last_forward(backend: LlamaCppBackend) -> None:
    with pytest.raises(EngineError, match="no logits"):
        backend.logits(0)
    backend.forward([Chunk(0, PROMPT, 0)])
    backend.logits(0)[5] = 77.0
    assert backend.logits(0)[5] == 77.0
    backend.forward([Chunk(1, PROMPT, 0)])
    with pytest.raises(EngineError, match="no logits"):
        backend.logits(0)


def test_an_embedding_is_the_hidden_state_that_ctransformers_gives() -> None:
    ours, theirs = (kind(load_params(DEMO, batch_size=64)) for kind in (LlamaCppBackend, CtransformersBackend))
    tokens = [1, *ours.tokenize("A boat on the sea.")]
    ours.forward([Chunk(0, tokens, 0, embeds=True)])
    theirs.forward([Chunk(0, tokens, 0)])
    found, expected = ours.embedding(0).copy(), theirs.embedding(0)
    assert found.shape == expected.shape
    assert float(found @ expected / np.linalg.norm(found) / np.linalg.norm(expected)) > 0.999
    ours.forward([Chunk(0, tokens, 0)])
    with pytest.raises(EngineError, match="no embeddings"):
        ours.embedding(0)


def test_an_embedding_beside_a_decoding_slot(backend: LlamaCppBackend) -> None:
    backend.forward([Chunk(0, PROMPT, 0, embeds=True)])
    alone, logits = backend.embedding(0).copy(), backend.logits(0).copy()
    backend.forward([Chunk(1, PROMPT[:9], 0), Chunk(0, PROMPT, 0, embeds=True)])
    close(backend.embedding(0), alone)
    close(backend.logits(0), logits)
    other = backend.logits(1).copy()
    close(other, evaluated(backend, PROMPT[:9], slot=2))


@pytest.mark.parametrize(
    "options",
    [
        {"flash_attention": True},
        {"flash_attention": False},
        {"cache_type": "q8_0"},
        {"cache_type": "bf16"},
        {"cache_type": "bf16", "flash_attention": False},
        {"mmap": False},
        {"threads": 2},
    ],
    ids=str,
)
def test_other_ways_to_load_give_close_logits(tmp_path: Path, options: dict[str, Any]) -> None:
    wide = write_tiny(tmp_path / "wide.gguf", width=128, heads=4, **{"llama.rope.dimension_count": 32})
    expected = evaluated(LlamaCppBackend(load_params(wide, batch_size=64)), PROMPT)
    found = evaluated(LlamaCppBackend(load_params(wide, batch_size=64, **options)), PROMPT)
    assert np.corrcoef(found, expected)[0, 1] > 0.999


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0),
        ({"cache_type": "bf16"}, 1),
        ({"cache_type": "q8_0"}, 1),
        ({"cache_type": "bf16", "flash_attention": False}, 0),
        ({"flash_attention": True}, 1),
        ({"gpu_layers": 1}, -1),
    ],
    ids=str,
)
def test_flash_attention_where_nothing_is_said(tiny_model: Path, options: dict[str, Any], expected: int) -> None:
    """No: on a CPU with f16; yes: with other caches; the library decides: with a GPU."""
    native = LlamaCppBackend(load_params(tiny_model))._context_params(load_params(tiny_model, **options), 256)
    assert native.flash_attn_type == expected
    assert native.type_k == native.type_v == {"bf16": 30, "q8_0": 8}.get(options.get("cache_type", ""), 1)


def test_a_cache_type_that_does_not_fit_is_an_error(tiny_model: Path) -> None:
    with pytest.raises(WeightsError, match="can't be used as declared"):
        LlamaCppBackend(load_params(tiny_model, cache_type="q8_0"))  # heads of 16, blocks of 32


def test_layers_for_a_gpu_that_the_build_does_not_know_are_refused(tiny_model: Path) -> None:
    with pytest.raises(WeightsError, match="without GPU support"):
        LlamaCppBackend(load_params(tiny_model, gpu_layers=4))


def test_truncated_files_and_noise_never_reach_native_code(tmp_path: Path, tiny_model: Path) -> None:
    data, noise = tiny_model.read_bytes(), random.Random(1)
    contents = [data[: int(len(data) * share)] for share in (0.001, 0.05, 0.13, 0.2, 0.9, 0.999)]
    contents += [b"GGUF" + noise.randbytes(100_000), data[:4000] + noise.randbytes(len(data) - 4000)]
    paths = [tmp_path / f"{number}.gguf" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    assert load_in_child(paths) == ["WeightsError"] * len(contents)


HOSTILE: list[dict[str, Any]] = [
    {"tokenizer.ggml.unknown_token_id": 2**31},
    {"llama.attention.head_count_kv": 0},
    {"llama.attention.head_count_kv": 64},
    {"llama.feed_forward_length": None},
    {"llama.rope.dimension_count": 6},
    {"llama.block_count": 3},
    {"llama.embedding_length": 65},
]


def test_metadata_that_lies_is_an_error(tmp_path: Path) -> None:
    paths = [write_tiny(tmp_path / f"{number}.gguf", **overrides) for number, overrides in enumerate(HOSTILE)]
    assert load_in_child(paths) == ["WeightsError"] * len(HOSTILE)


def test_closing_twice_is_harmless_and_ends_it(tiny_model: Path) -> None:
    loaded = LlamaCppBackend(load_params(tiny_model))
    loaded.close()
    loaded.close()
    with pytest.raises(EngineError, match="closed"):
        loaded.forward([Chunk(0, [1], 0)])


def test_the_library_comes_without_its_own_server() -> None:
    code = "import sys; from ixmodal.backends import llama_cpp; assert 'llama_cpp' not in sys.modules"
    code += "; llama_cpp._library(); print('jinja2' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert found.stdout.strip() == b"False"


def test_sequences_stand_in_the_batch_in_the_order_of_their_slots(backend: LlamaCppBackend) -> None:
    """In another order the library splits the batch and reads the weights once a part."""
    backend.forward([Chunk(slot, [300 + slot], 0) for slot in (2, 0, 3, 1)])
    native = backend._batch.native
    assert [native.seq_id[at][0] for at in range(native.n_tokens)] == [0, 1, 2, 3]
    together = [backend.logits(slot).copy() for slot in range(4)]
    for slot in range(4):
        close(together[slot], evaluated(backend, [300 + slot], slot=slot))
