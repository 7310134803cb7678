"""A safe reading of the file format before GGUF, for models of the llama architecture.

The format is that of llama.cpp before August 2023 (`llama_file_loader` in its llama.cpp): a magic number and a
version, seven numbers, the vocabulary, then each tensor with its data, aligned to 32 bytes since the magic `ggjt`.
There is no metadata: no context length, no chat template, no types of tokens. The native library still loads `ggjt`,
but reads past the end of files that lie, so that every count and length is checked here first.
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ixmodal.errors import UnsupportedModelError, WeightsError
from ixmodal.models.gguf import GGML_BLOCKS, Tensor
from ixmodal.models.vocabulary import SPACE, TokenType, Vocabulary

MAGIC = b"tjgg"
"""`ggjt` as a little-endian number."""
OLDER = {b"lmgg": "ggml", b"fmgg": "ggmf", b"algg": "ggla"}
"""The magic numbers before and beside it, which are refused by name."""
CONTEXT_LENGTH = 2048
"""Tokens that the first models of this format were trained on; the file does not say."""
ADVICE = "convert it to GGUF with llama.cpp's convert_llama_ggml_to_gguf.py, or name a GGUF file"
_ALIGNMENT = 32
_MAX_VOCABULARY = 1_000_000
_MAX_TOKEN_BYTES = 4096
_MAX_BLOCKS = 1024
_KNOWN_DEPTHS = (40, 60, 80)
"""Blocks of the larger models that the library has sizes for; of the smaller ones it takes any."""
_F32, _F16 = 0, 1
_BYTES_FROM = 3
"""Id of the token of byte 0: after unknown, beginning and end come the 256 bytes."""
_SHARED_BY_8 = re.compile(r"(\b|_)70b(\b|_)", re.IGNORECASE | re.ASCII)
"""How the library knows a model whose keys and values are shared by eight heads: by the file's path."""


@dataclass(frozen=True)
class Hyperparameters:
    """The seven numbers of the header. `multiple` is what the feed-forward width is rounded up to."""

    vocabulary: int
    width: int
    multiple: int
    heads: int
    blocks: int
    rotary: int
    file_type: int

    def feed_forward(self, shared_by: int) -> int:
        """Width of the feed-forward layer, by llama's own formula; the 70B model's is 1.3 times as wide."""
        raw = 2 * (4 * self.width) // 3
        if self.blocks == 80 and shared_by == 8:
            raw = int(1.3 * raw)
        return -(-raw // self.multiple) * self.multiple


@dataclass(frozen=True)
class GgjtFile:
    """What such a file holds. `tensors` by their names; offsets are from the start of the file."""

    path: Path
    version: int
    parameters: Hyperparameters
    vocabulary: Vocabulary
    tensors: dict[str, Tensor]


def read_ggjt(path: Path) -> GgjtFile:
    """Read and check a file that starts with `MAGIC`.

    Raises:
        WeightsError: cut short, or inconsistent with itself.
        UnsupportedModelError: a version or kind that the library does not load.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return _Reader(path, view).read()
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror or error}") from None


class _Reader:
    """A cursor over the file that refuses to run past the end."""

    def __init__(self, path: Path, view: mmap.mmap) -> None:
        self.path, self.view, self.at = path, view, len(MAGIC)

    def read(self) -> GgjtFile:
        (version,) = self.numbers("I")
        if version not in (1, 2, 3):
            raise UnsupportedModelError(f"{self.path} is of version {version} of the old GGML format; {ADVICE}")
        parameters = Hyperparameters(*self.numbers("7I"))
        self.check_parameters(parameters)
        vocabulary = self.vocabulary(parameters.vocabulary)
        tensors: dict[str, Tensor] = {}
        while self.at < len(self.view):
            tensor = self.tensor()
            if tensor.name in tensors:
                raise self.damaged(f"tensor {tensor.name} is there twice")
            tensors[tensor.name] = tensor
        found = GgjtFile(self.path, version, parameters, vocabulary, tensors)
        self.check_tensors(found)
        return found

    def check_parameters(self, p: Hyperparameters) -> None:
        if not 256 + _BYTES_FROM <= p.vocabulary < _MAX_VOCABULARY or not 0 < p.blocks <= _MAX_BLOCKS:
            raise self.damaged(f"it claims {p.vocabulary} tokens and {p.blocks} blocks")
        if (
            not (p.heads and p.multiple and 0 < p.width < 1 << 20)
            or p.width % p.heads
            or p.rotary != p.width // p.heads
        ):
            raise self.damaged(f"{p.width} wide, {p.heads} heads and {p.rotary} rotary dimensions don't go together")
        if p.blocks > 32 and p.blocks not in _KNOWN_DEPTHS:
            raise UnsupportedModelError(f"{self.path} has {p.blocks} blocks, which this engine does not know; {ADVICE}")

    def vocabulary(self, size: int) -> Vocabulary:
        stored = [self.token() for _ in range(size)]
        single = stored[_BYTES_FROM : _BYTES_FROM + 256]
        if single != [bytes([value]) for value in range(256)]:
            raise UnsupportedModelError(f"{self.path}: the vocabulary lacks byte tokens; this engine needs all 256")
        texts = [text.replace(b" ", SPACE) for text in stored]
        texts[1], texts[2] = b"<s>", b"</s>"  # stored as nothing at all
        texts[_BYTES_FROM : _BYTES_FROM + 256] = [b"<0x%02X>" % value for value in range(256)]
        types = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256]
        types += [TokenType.NORMAL] * (size - len(types))
        return Vocabulary(texts, types, bos_id=1, eos_id=2)

    def token(self) -> bytes:
        (length,) = self.numbers("I")
        if length > _MAX_TOKEN_BYTES:
            raise self.damaged(f"a token of {length} bytes")
        start = self.advance(length)
        text = self.view[start : start + length]
        self.numbers("f")  # its score
        return text

    def tensor(self) -> Tensor:
        dimensions, name_length, type_id = self.numbers("3I")
        if not 1 <= dimensions <= 2 or not 0 < name_length <= 256:
            raise self.damaged(f"a tensor of {dimensions} dimensions with a name of {name_length} bytes")
        shape = self.numbers(f"{dimensions}I")
        start = self.advance(name_length)
        name = self.view[start : start + name_length].decode("utf-8", "replace")
        if type_id not in GGML_BLOCKS:
            known = ", ".join(known for known, _, _ in GGML_BLOCKS.values())
            raise UnsupportedModelError(
                f"{self.path}: tensor {name} has type {type_id}, which this engine does not know; "
                f"choose a file of {known}"
            )
        if not all(shape) or shape[0] % GGML_BLOCKS[type_id][1]:
            raise self.damaged(f"tensor {name} has the shape {shape}")
        self.advance(-self.at % _ALIGNMENT)
        tensor = Tensor(name, shape, type_id, self.at)
        self.advance(tensor.size)
        return tensor

    def check_tensors(self, found: GgjtFile) -> None:
        wanted = _shapes(found.parameters, 8 if _SHARED_BY_8.search(str(self.path)) else 1)
        if odd := sorted(wanted.keys() ^ found.tensors.keys()):
            what = "lacks" if odd[0] in wanted else "holds, against the architecture,"
            raise self.damaged(f"it {what} tensor {odd[0]:.100}")
        for name, shape in wanted.items():
            tensor = found.tensors[name]
            if tensor.shape != shape:
                raise UnsupportedModelError(
                    f"{self.path}: tensor {name} has the shape {tensor.shape}, "
                    f"where the engine expects {shape}; {ADVICE}"
                )
            if len(shape) == 1 and tensor.type_id != _F32:
                raise UnsupportedModelError(f"{self.path}: tensor {name} is no F32 vector; this engine needs that")
            if found.version < 3 and tensor.type_id not in (_F32, _F16):
                raise UnsupportedModelError(
                    f"{self.path} is quantized in a way of before May 2023, which this engine reads no more; {ADVICE}"
                )

    def numbers(self, codes: str) -> tuple[Any, ...]:
        layout = "<" + codes
        return struct.unpack_from(layout, self.view, self.advance(struct.calcsize(layout)))

    def advance(self, length: int) -> int:
        start = self.at
        if length > len(self.view) - start:
            raise self.damaged(f"{length} bytes at byte {start} run past the end of {len(self.view)}")
        self.at = start + length
        return start

    def damaged(self, why: str) -> WeightsError:
        return WeightsError(f"{self.path} is damaged or incomplete: {why}; fetch it again")


def _shapes(p: Hyperparameters, shared_by: int) -> dict[str, tuple[int, ...]]:
    """Every tensor of the architecture, by name; columns come first."""
    hidden, narrow = p.feed_forward(shared_by), p.width // shared_by
    block: dict[str, tuple[int, ...]] = {
        "attention_norm": (p.width,),
        "attention.wq": (p.width, p.width),
        "attention.wk": (p.width, narrow),
        "attention.wv": (p.width, narrow),
        "attention.wo": (p.width, p.width),
        "ffn_norm": (p.width,),
        "feed_forward.w1": (p.width, hidden),
        "feed_forward.w2": (hidden, p.width),
        "feed_forward.w3": (p.width, hidden),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "tok_embeddings.weight": (p.width, p.vocabulary),
        "norm.weight": (p.width,),
        "output.weight": (p.width, p.vocabulary),
    }
    for index in range(p.blocks):
        shapes |= {f"layers.{index}.{name}.weight": shape for name, shape in block.items()}
    return shapes
