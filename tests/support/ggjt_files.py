"""Model files of the format before GGUF, made from GGUF files: the same weights, so that both must answer alike."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from gguf import GGUFReader

NAMES = {
    "token_embd": "tok_embeddings",
    "output_norm": "norm",
    "output": "output",
    "attn_norm": "attention_norm",
    "attn_q": "attention.wq",
    "attn_k": "attention.wk",
    "attn_v": "attention.wv",
    "attn_output": "attention.wo",
    "ffn_norm": "ffn_norm",
    "ffn_gate": "feed_forward.w1",
    "ffn_down": "feed_forward.w2",
    "ffn_up": "feed_forward.w3",
}
RMS_EPSILON = 5e-6
"""What the old loader uses; the file does not say."""


def write_ggjt(path: Path, source: Path, *, version: int = 3, multiple: int = 256, file_type: int = 2) -> Path:
    """Write the weights and the vocabulary of the GGUF file `source` as `ggjt`."""
    reader = GGUFReader(source)

    def number(key: str) -> int:
        return int(reader.fields[key].contents())

    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    scores = reader.fields["tokenizer.ggml.scores"].contents()
    width, heads = number("llama.embedding_length"), number("llama.attention.head_count")
    numbers = (len(tokens), width, multiple, heads, number("llama.block_count"), width // heads, file_type)
    data = bytearray(b"tjgg" + struct.pack("<8I", version, *numbers))
    for index, (token, score) in enumerate(zip(tokens, scores, strict=True)):
        text = _text(index, token)
        data += struct.pack("<I", len(text)) + text + struct.pack("<f", score)
    for tensor in reader.tensors:
        shape = [int(extent) for extent in tensor.shape]
        name = _name(tensor.name).encode()
        data += struct.pack(f"<{3 + len(shape)}I", len(shape), len(name), int(tensor.tensor_type), *shape) + name
        data += bytes(-len(data) % 32) + np.ascontiguousarray(tensor.data).tobytes()
    path.write_bytes(data)
    return path


def _text(index: int, token: str) -> bytes:
    if index == 0:
        return " \u2047 ".encode()
    if index in (1, 2):
        return b""
    return bytes([index - 3]) if index < 259 else token.replace("\u2581", " ").encode()


def _name(name: str) -> str:
    *block, kind, weight = name.split(".")
    return ".".join([*(["layers", *block[1:]] if block else []), NAMES[kind], weight])
