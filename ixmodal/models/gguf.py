"""A safe reading of a GGUF file's header: metadata and tensor table, never the weights.

The format is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
Every count and length is checked against the file before anything is allocated, because the native library
crashes on files that lie. The `gguf` package reads the same files, but takes two seconds for a vocabulary of
32,000 tokens where this takes some 20 ms; tests hold the two against each other.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ixmodal.errors import WeightsError

MAGIC = b"GGUF"
_MAX_HEADER_BYTES = 64 * 1024 * 1024
_MAX_ENTRIES = 65_536
_MAX_DIMENSIONS = 4
_MAX_ARRAY_DEPTH = 2
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

GGML_BLOCKS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
}
"""Tensor types that ctransformers loads: id -> (name, weights in a block, bytes of a block)."""

MODERN_BLOCKS: dict[int, tuple[str, int, int]] = GGML_BLOCKS | {
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    26: ("I32", 1, 4),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}
"""Tensor types that llama.cpp loads besides."""


@dataclass(frozen=True)
class Tensor:
    """A row of the tensor table. `offset` is in bytes from the start of the data section."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int

    @property
    def size(self) -> int:
        """Bytes of its data. Raises `KeyError` for a type that is not among `MODERN_BLOCKS`."""
        _, weights, stride = MODERN_BLOCKS[self.type_id]
        return math.prod(self.shape) // weights * stride


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says of itself. Strings in `metadata` are `bytes`, exactly as stored; `spans` says where."""

    path: Path
    version: int
    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]
    data_start: int
    file_size: int
    spans: dict[str, tuple[int, int]]

    def text(self, key: str, default: str | None = None) -> str | None:
        """A string value, or `default` where the key is absent."""
        value = self.metadata.get(key)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else default

    def integer(self, key: str, default: int | None = None) -> int | None:
        """An integer value, or `default` where the key is absent."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else default


def read_header(path: Path) -> GgufHeader:
    """Read and check the header of `path`.

    Raises:
        WeightsError: not a GGUF file, cut short, or inconsistent with itself.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if size < 24 or file.read(4) != MAGIC:
                raise WeightsError(f"{path} is not a GGUF file; convert it to GGUF or name another file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                return _Reader(path, view, size).read()
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror or error}") from None


class _Reader:
    """A cursor over the header that refuses to run past the end."""

    def __init__(self, path: Path, view: mmap.mmap, size: int) -> None:
        self.path, self.view, self.size, self.at = path, view, size, 4
        self.end = min(size, _MAX_HEADER_BYTES)

    def read(self) -> GgufHeader:
        version = self.number("I")
        if version not in (2, 3):
            raise self.damaged(f"GGUF version {version} is not 2 or 3")
        tensor_count, entry_count = self.count("tensors"), self.count("metadata entries")
        metadata: dict[str, Any] = {}
        spans: dict[str, tuple[int, int]] = {}
        for _ in range(entry_count):
            began = self.at
            key = self.string().decode("utf-8", "replace")
            metadata[key] = self.value(self.number("I"))
            spans[key] = began, self.at
        tensors = tuple(self.tensor() for _ in range(tensor_count))
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1) or alignment > 1 << 20:
            raise self.damaged(f"general.alignment is {alignment!r}")
        start = -(-self.at // alignment) * alignment
        header = GgufHeader(self.path, version, metadata, tensors, start, self.size, spans)
        self.check_extent(header, alignment)
        return header

    def check_extent(self, header: GgufHeader, alignment: int) -> None:
        for tensor in header.tensors:
            if tensor.offset % alignment:
                raise self.damaged(f"tensor {tensor.name} starts at a crooked offset")
            if tensor.type_id not in MODERN_BLOCKS:
                continue
            weights = MODERN_BLOCKS[tensor.type_id][1]
            if tensor.shape[0] % weights:
                raise self.damaged(f"tensor {tensor.name} has rows of {tensor.shape[0]}, not a multiple of {weights}")
            end = header.data_start + tensor.offset + tensor.size
            if end > self.size:
                raise self.damaged(f"tensor {tensor.name} ends at byte {end}, but the file has {self.size}")

    def tensor(self) -> Tensor:
        name = self.string().decode("utf-8", "replace")
        dimensions = self.number("I")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise self.damaged(f"tensor {name[:64]} has {dimensions} dimensions")
        shape = tuple(self.number("Q") for _ in range(dimensions))
        if not all(0 < extent < 1 << 40 for extent in shape):
            raise self.damaged(f"tensor {name[:64]} has the shape {shape}")
        return Tensor(name, shape, self.number("I"), self.number("Q"))

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY and depth < _MAX_ARRAY_DEPTH:
            return self.array(depth)
        raise self.damaged(f"value type {kind} is unknown")

    def array(self, depth: int) -> Any:
        kind, length = self.number("I"), self.number("Q")
        if kind in _SCALARS:
            code = _SCALARS[kind]
            start = self.advance(length * struct.calcsize("<" + code), "an array")
            return struct.unpack_from(f"<{length}{code}", self.view, start)
        smallest = 8 if kind == _STRING else 12
        if length * smallest > self.end - self.at:
            raise self.damaged(f"an array claims {length} entries")
        return self.strings(length) if kind == _STRING else [self.value(kind, depth + 1) for _ in range(length)]

    def strings(self, count: int) -> list[bytes]:
        # A vocabulary: `string` as often as there are tokens, without its calls, which take three times as long.
        view, end, at, lengths = self.view, self.end, self.at, struct.Struct("<Q").unpack_from
        found = []
        for _ in range(count):
            start = at + 8
            at = start + lengths(view, at)[0] if start <= end else end + 1
            if at > end:
                raise self.damaged(f"a list of strings runs past the header's end ({end} bytes)")
            found.append(view[start:at])
        self.at = at
        return found

    def string(self) -> bytes:
        length = self.number("Q")
        start = self.advance(length, "a string")
        return self.view[start : start + length]

    def count(self, what: str) -> int:
        number = self.number("Q")
        if number > _MAX_ENTRIES:
            raise self.damaged(f"it claims {number} {what}")
        return int(number)

    def number(self, code: str) -> Any:
        start = self.advance(struct.calcsize("<" + code), "a number")
        return struct.unpack_from("<" + code, self.view, start)[0]

    def advance(self, length: int, what: str) -> int:
        start = self.at
        if length > self.end - start:
            raise self.damaged(
                f"{what} of {length} bytes at byte {start} runs past the header's end ({self.end} bytes)"
            )
        self.at = start + length
        return start

    def damaged(self, why: str) -> WeightsError:
        return WeightsError(f"{self.path} is damaged or incomplete: {why}; fetch it again")
