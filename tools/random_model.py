"""A model of random weights that loads and generates: `python -m tools.random_model --shape tiny out.gguf`.

Its sizes are a real model's, its answers are noise. Tests load the tiny one; benchmarks load the big ones, whose speed
is that of a trained model of the same shape.
"""

from __future__ import annotations

import argparse
import itertools
import string
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize

Floats = np.ndarray[Any, np.dtype[np.float32]]
Entry = tuple[Any, gguf.GGUFValueType, gguf.GGUFValueType | None]

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTROL = ("<|im_start|>", "<|im_end|>")
_SPECIAL = ("<unk>", "<s>", "</s>")
_SPACE = "\u2581"
_WORDS = "the of and to in is you that it he was for on are with as his they at be this have from or one had by word"
_IDEOGRAPHS = "你好世界"
_UINT, _FLOAT = gguf.GGUFValueType.UINT32, gguf.GGUFValueType.FLOAT32
_INT, _STRING = gguf.GGUFValueType.INT32, gguf.GGUFValueType.STRING
_BOOL, _ARRAY = gguf.GGUFValueType.BOOL, gguf.GGUFValueType.ARRAY


@dataclass(frozen=True)
class Shape:
    """The sizes of a llama: all that its speed depends on."""

    width: int
    blocks: int
    heads: int
    feed_forward: int
    vocabulary: int
    context_length: int
    kv_heads: int | None = None


SHAPES = {
    "tiny": Shape(width=64, blocks=2, heads=4, kv_heads=2, feed_forward=128, vocabulary=600, context_length=256),
    "110m": Shape(width=768, blocks=12, heads=12, feed_forward=2048, vocabulary=32_000, context_length=2048),
    "1b": Shape(width=2048, blocks=22, heads=32, kv_heads=4, feed_forward=5632, vocabulary=32_000, context_length=2048),
}


def write_random_llama(
    path: Path,
    *,
    width: int,
    blocks: int,
    heads: int,
    kv_heads: int | None = None,
    feed_forward: int,
    vocabulary: int,
    context_length: int,
    type: str = "Q4_0",
    seed: int = 0,
    chat_template: str | None = CHATML,
    tensors_a_part: int = 0,
    **overrides: Any,
) -> Path:
    """Write a GGUF v3 file of the llama architecture, quantised to `type`; returns `path`.

    Matrices are random, so that logits spread over a few units; all blocks share one set of them. Without a chat
    template there are no ChatML control tokens either. `overrides` replaces metadata by key, or leaves a key out
    where its value is None: `**{"llama.context_length": None}`. With `tensors_a_part` the model is split over files
    named `<path's stem>-00001-of-0000N.gguf`.
    """
    shape = Shape(width, blocks, heads, feed_forward, vocabulary, context_length, kv_heads)
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=tensors_a_part)
    metadata = _metadata(shape, chat_template)
    writer.kv_data[0].pop("general.architecture")
    for key, (value, kind, inner) in metadata.items():
        value = overrides.pop(key, value)
        if value is not None:
            writer.add_key_value(key, value, kind, inner)
    if overrides:
        raise ValueError(f"no such metadata: {', '.join(overrides)}")
    kind = gguf.GGMLQuantizationType[type]
    for name, weights in _tensors(shape, np.random.default_rng(seed), kind):
        writer.add_tensor(name, weights, raw_dtype=kind if weights.ndim > 1 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _metadata(shape: Shape, chat_template: str | None) -> dict[str, Entry]:
    pieces, scores, types = vocabulary_of(shape.vocabulary, CONTROL if chat_template else ())
    end = pieces.index(CONTROL[1]) if chat_template else 2
    plain: dict[str, tuple[Any, gguf.GGUFValueType]] = {
        "general.architecture": ("llama", _STRING),
        "general.name": ("random", _STRING),
        "general.quantization_version": (gguf.GGML_QUANT_VERSION, _UINT),
        "llama.context_length": (shape.context_length, _UINT),
        "llama.embedding_length": (shape.width, _UINT),
        "llama.block_count": (shape.blocks, _UINT),
        "llama.feed_forward_length": (shape.feed_forward, _UINT),
        "llama.rope.dimension_count": (shape.width // shape.heads, _UINT),
        "llama.attention.head_count": (shape.heads, _UINT),
        "llama.attention.head_count_kv": (shape.kv_heads or shape.heads, _UINT),
        "llama.attention.layer_norm_rms_epsilon": (1e-5, _FLOAT),
        "tokenizer.ggml.model": ("llama", _STRING),
        "tokenizer.ggml.bos_token_id": (1, _UINT),
        "tokenizer.ggml.eos_token_id": (end, _UINT),
        "tokenizer.ggml.unknown_token_id": (0, _UINT),
        "tokenizer.ggml.add_bos_token": (True, _BOOL),
        "tokenizer.chat_template": (chat_template, _STRING),
    }
    return {key: (value, kind, None) for key, (value, kind) in plain.items()} | {
        "tokenizer.ggml.tokens": (pieces, _ARRAY, _STRING),
        "tokenizer.ggml.scores": (scores, _ARRAY, _FLOAT),
        "tokenizer.ggml.token_type": (types, _ARRAY, _INT),
    }


def vocabulary_of(size: int, control: tuple[str, ...]) -> tuple[list[str], list[float], list[int]]:
    """Pieces, scores and types of a SentencePiece-like vocabulary of `size` tokens.

    Special tokens, the 256 bytes, `control`, then characters, words with all their beginnings, and strings of letters;
    earlier pieces score higher. Raises `ValueError` where `size` has no room for the characters.
    """
    byte_tokens = [f"<0x{value:02X}>" for value in range(256)]
    head = [*_SPECIAL, *byte_tokens, *control]
    pieces = list(dict.fromkeys(itertools.chain(head, itertools.islice(_pieces(), size))))[:size]
    if size < len(head) + 128:
        raise ValueError(f"a vocabulary of {size} has no room for single characters; ask for {len(head) + 128}")
    scores = [0.0] * len(head) + [-float(rank) for rank in range(size - len(head))]
    normal, byte = gguf.TokenType.NORMAL, gguf.TokenType.BYTE
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL, *[byte] * 256]
    types += [gguf.TokenType.CONTROL] * len(control)
    return pieces, scores, [int(kind) for kind in types + [normal] * (size - len(types))]


def _pieces() -> Iterator[str]:
    yield _SPACE
    yield from (character for character in string.printable if character.isprintable() and character != " ")
    yield from _IDEOGRAPHS
    for word in _WORDS.split():
        spaced = _SPACE + word
        yield from (spaced[:end] for end in range(2, len(spaced) + 1))
    letters = string.ascii_lowercase
    for length in itertools.count(2):
        yield from map("".join, itertools.product(_SPACE + letters, *[letters] * (length - 1)))


def _tensors(shape: Shape, random: np.random.Generator, kind: gguf.GGMLQuantizationType) -> Iterator[tuple[str, Any]]:
    def matrix(rows: int, columns: int, spread: float = 1.0) -> Any:
        weights = random.standard_normal((rows, columns), dtype=np.float32)
        weights *= np.float32(spread / columns**0.5)
        return quantize(weights, kind)

    width, hidden = shape.width, shape.feed_forward
    ones: Floats = np.ones(width, np.float32)
    narrow = width // shape.heads * (shape.kv_heads or shape.heads)
    yield "token_embd.weight", matrix(shape.vocabulary, width, width**0.5)
    yield "output_norm.weight", ones
    yield "output.weight", matrix(shape.vocabulary, width, 3.0)
    block = {
        "attn_norm": ones,
        "attn_q": matrix(width, width),
        "attn_k": matrix(narrow, width),
        "attn_v": matrix(narrow, width),
        "attn_output": matrix(width, width),
        "ffn_norm": ones,
        "ffn_gate": matrix(hidden, width),
        "ffn_up": matrix(hidden, width),
        "ffn_down": matrix(width, hidden),
    }
    for index in range(shape.blocks):
        for name, weights in block.items():
            yield f"blk.{index}.{name}.weight", weights


def main() -> None:
    """Write a model of a named shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--type", default="Q4_0", help="quantisation of the matrices (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    began = time.monotonic()
    write_random_llama(arguments.out, **asdict(SHAPES[arguments.shape]), type=arguments.type, seed=arguments.seed)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
