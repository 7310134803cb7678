"""A tiny qwen2 model with a byte-level BPE vocabulary, as newer model files have: what ctransformers does not load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tools.random_model import CHATML

WIDTH, BLOCKS, HEADS, KV_HEADS, FEED_FORWARD, CONTEXT = 64, 2, 4, 2, 128, 256
_WORDS = ["\u0120the", "\u0120word", "the", "word", "\u00c3\u00a9", "<|", "|>"]
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_characters() -> list[str]:
    """GPT-2's character for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = iter(range(256, 512))
    return [chr(value) if value in plain else chr(next(rest)) for value in range(256)]


def write_qwen2(path: Path, *, architecture: str = "qwen2", tokens: list[str] | None = None, **keys: Any) -> Path:
    """Write the model; `keys` replaces tokenizer.ggml's metadata (`merges=[…]`), None leaves it out."""
    texts = tokens or [*byte_characters(), *_parts(), *CONTROL]
    ends = {text: token for token, text in enumerate(texts)}
    types = [3 if text in CONTROL else 1 for text in texts]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny qwen2")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_chat_template(CHATML)
    writer.add_eos_token_id(ends["<|im_end|>"])
    writer.add_add_bos_token(False)
    table: dict[str, Any] = {"model": "gpt2", "pre": "qwen2", "tokens": texts, "token_type": types, "merges": _merges()}
    for name, value in (table | keys).items():
        if isinstance(value, str):
            writer.add_string(f"tokenizer.ggml.{name}", value)
        elif value is not None:
            writer.add_array(f"tokenizer.ggml.{name}", value)
    for name, weights in _tensors(len(texts)).items():
        writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _parts() -> list[str]:
    """The words and all their beginnings, which merges go through."""
    return list(dict.fromkeys(word[:end] for word in _WORDS for end in range(2, len(word) + 1)))


def _merges() -> list[str]:
    return [f"{part[:-1]} {part[-1]}" for part in _parts()]


def _tensors(rows: int) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    chance, narrow = np.random.default_rng(0), WIDTH // HEADS * KV_HEADS
    matrices = {"token_embd.weight": (rows, WIDTH), "output.weight": (rows, WIDTH)}
    vectors = {"output_norm.weight": WIDTH}
    for block in (f"blk.{index}." for index in range(BLOCKS)):
        for name, width in (("q", WIDTH), ("k", narrow), ("v", narrow)):
            matrices[f"{block}attn_{name}.weight"] = (width, WIDTH)
            vectors[f"{block}attn_{name}.bias"] = width
        matrices[f"{block}attn_output.weight"] = (WIDTH, WIDTH)
        matrices |= {f"{block}ffn_{name}.weight": (FEED_FORWARD, WIDTH) for name in ("gate", "up")}
        matrices[f"{block}ffn_down.weight"] = (WIDTH, FEED_FORWARD)
        vectors |= {f"{block}{name}_norm.weight": WIDTH for name in ("attn", "ffn")}
    found = {name: chance.normal(0, 0.2, shape).astype(np.float32) for name, shape in matrices.items()}
    return found | {name: np.full(width, 0.5, np.float32) for name, width in vectors.items()}
