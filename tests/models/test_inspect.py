from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from ixmodal.errors import UnsupportedModelError, WeightsError
from ixmodal.models.gguf import read_header
from ixmodal.models.inspect import inspect
from tests.support.gguf_files import TINY, write_tiny
from tools.random_model import CHATML, CONTROL, vocabulary_of

PIECES, SCORES, TYPES = vocabulary_of(TINY.vocabulary, CONTROL)


def refusal(path: Path, kind: type[WeightsError] = WeightsError) -> str:
    with pytest.raises(WeightsError) as caught:
        inspect(path)
    assert type(caught.value) is kind
    assert str(path) in caught.value.message
    return caught.value.message


def patched(source: Path, target: Path, *, find: bytes, replacement: bytes, after: int = 0) -> Path:
    """A copy with the bytes `after` behind `find` overwritten."""
    data = bytearray(source.read_bytes())
    at = data.index(find) + len(find) + after
    data[at : at + len(replacement)] = replacement
    target.write_bytes(data)
    return target


def test_what_is_told_of_a_fit_model(tiny_model: Path) -> None:
    model = inspect(tiny_model)
    assert (model.name, model.architecture) == ("random", "llama")
    assert (model.context_length, model.embedding_length) == (256, 64)
    assert model.chat_template == CHATML
    assert [text.decode() for text in model.vocabulary.texts] == PIECES
    assert list(model.vocabulary.types) == TYPES
    assert (model.vocabulary.bos_id, model.vocabulary.eos_id) == (1, PIECES.index("<|im_end|>"))
    assert model.vocabulary.add_bos


def test_what_a_file_leaves_out_has_defaults(tmp_path: Path) -> None:
    left_out = ["general.name", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"]
    left_out += ["tokenizer.ggml.add_bos_token", "tokenizer.ggml.unknown_token_id"]
    model = inspect(write_tiny(tmp_path / "left-out.gguf", chat_template=None, **dict.fromkeys(left_out)))
    assert (model.name, model.chat_template) == ("left-out", None)
    assert (model.vocabulary.bos_id, model.vocabulary.eos_id, model.vocabulary.add_bos) == (1, 2, True)


def test_the_largest_id_means_no_token(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m.gguf", **{"tokenizer.ggml.bos_token_id": 2**32 - 1})
    assert inspect(path).vocabulary.bos_id is None


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "absent.gguf")
    assert "does not exist" in refusal(tmp_path)


@pytest.mark.parametrize("architecture", ["qwen2", "falcon", "gemma", "llama\0", None])
def test_other_architectures_are_not_supported(tmp_path: Path, architecture: str | None) -> None:
    path = write_tiny(tmp_path / "m.gguf", **{"general.architecture": architecture})
    assert "choose a model of that family" in refusal(path, UnsupportedModelError)


@pytest.mark.parametrize("tokenizer", ["gpt2", "bert", None])
def test_other_tokenizers_are_not_supported(tmp_path: Path, tokenizer: str | None) -> None:
    path = write_tiny(tmp_path / "m.gguf", **{"tokenizer.ggml.model": tokenizer})
    assert (tokenizer or "missing") in refusal(path, UnsupportedModelError)


@pytest.mark.parametrize("name", ["token_embd", "output_norm", "output"])
def test_a_tensor_that_the_engine_needs(tmp_path: Path, tiny_model: Path, name: str) -> None:
    path = patched(tiny_model, tmp_path / "m.gguf", find=f"{name}.weigh".encode(), replacement=b"T")
    assert f"has no tensor {name}.weight" in refusal(path, UnsupportedModelError)


def test_a_tensor_type_that_is_not_known(tmp_path: Path, tiny_model: Path) -> None:
    # After the name: the count of dimensions and two of those. 20 is IQ4_NL, of newer files.
    replacement = struct.pack("<I", 20)
    path = patched(tiny_model, tmp_path / "m.gguf", find=b"blk.1.attn_k.weight", replacement=replacement, after=20)
    assert "tensor blk.1.attn_k.weight has type 20" in refusal(path, UnsupportedModelError)


def test_a_norm_that_is_no_float(tmp_path: Path, tiny_model: Path) -> None:
    replacement = struct.pack("<I", 1)
    path = patched(tiny_model, tmp_path / "m.gguf", find=b"blk.1.ffn_norm.weight", replacement=replacement, after=12)
    assert "is no F32 vector" in refusal(path, UnsupportedModelError)


def test_an_incomplete_model(tmp_path: Path, tiny_model: Path) -> None:
    more = write_tiny(tmp_path / "more.gguf", **{"llama.block_count": 3})
    assert "lacks block 2 of 3" in refusal(more)
    path = patched(tiny_model, tmp_path / "m.gguf", find=struct.pack("<Q", 19) + b"blk.0.attn_", replacement=b"Q")
    assert "lacks block 0 of 2" in refusal(path)


def test_the_embedding_has_a_row_for_each_token(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m.gguf", **{"tokenizer.ggml.tokens": [*PIECES, "one more"]})
    assert "token_embd.weight has the shape (64, 600), not (64, 601)" in refusal(path)


WRONG: dict[str, tuple[str, Any]] = {
    "no context length": ("llama.context_length", None),
    "context length of zero": ("llama.context_length", 0),
    "no width": ("llama.embedding_length", None),
    "another width": ("llama.embedding_length", 32),
    "no blocks": ("llama.block_count", 0),
    "absurdly many blocks": ("llama.block_count", 2**31),
    "no heads": ("llama.attention.head_count", 0),
    "heads that don't divide the width": ("llama.attention.head_count", 3),
    "no heads for keys": ("llama.attention.head_count_kv", 0),
    "more heads for keys than heads": ("llama.attention.head_count_kv", 8),
    "heads for keys that don't divide the heads": ("llama.attention.head_count_kv", 3),
    "beginning outside the vocabulary": ("tokenizer.ggml.bos_token_id", 600),
    "end outside the vocabulary": ("tokenizer.ggml.eos_token_id", 2**31),
    "unknown outside the vocabulary": ("tokenizer.ggml.unknown_token_id", 600),
    "no tokens": ("tokenizer.ggml.tokens", None),
    "types for some tokens only": ("tokenizer.ggml.token_type", TYPES[:-1]),
    "no types": ("tokenizer.ggml.token_type", None),
    "scores for some tokens only": ("tokenizer.ggml.scores", SCORES[:-1]),
    "no scores": ("tokenizer.ggml.scores", None),
}


@pytest.mark.parametrize("name", WRONG)
def test_metadata_that_does_not_fit(tmp_path: Path, name: str) -> None:
    key, value = WRONG[name]
    refusal(write_tiny(tmp_path / "m.gguf", **{key: value}))


@pytest.mark.parametrize("byte", [b"<0x00>", b"<0x0A>", b"<0xF0>"])
def test_every_byte_needs_its_token(tmp_path: Path, tiny_model: Path, byte: bytes) -> None:
    data = tiny_model.read_bytes()
    path = tmp_path / "m.gguf"
    path.write_bytes(data.replace(byte, b"<none>", 1))
    assert "lacks byte tokens" in refusal(path, UnsupportedModelError)


def test_the_patches_above_leave_a_readable_header(tmp_path: Path, tiny_model: Path) -> None:
    path = patched(tiny_model, tmp_path / "m.gguf", find=b"blk.1.ffn_norm.weight", replacement=bytes(4), after=12)
    assert path.read_bytes() == tiny_model.read_bytes()
    assert read_header(path).tensors == read_header(tiny_model).tensors
