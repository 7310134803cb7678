"""The parts of a split GGUF model as the one file that the engine can load.

The format is that of llama.cpp's `gguf-split`: each part is a GGUF file with some of the tensors, `split.no` (from 0),
`split.count` and `split.tensors.count`; the first one holds the model's metadata and may hold no tensor.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from ixmodal.errors import UnsupportedModelError, WeightsError
from ixmodal.models.gguf import MAGIC, MODERN_BLOCKS, GgufHeader, Tensor

_BLOCK = 1 << 20
_OWN = ("split.no", "split.count", "split.tensors.count")


class Union:
    """One GGUF file made of parts: the first one's metadata, everyone's tensors in their order."""

    def __init__(self, parts: Sequence[GgufHeader]) -> None:
        """Lay the file out; nothing is read but headers.

        Args:
            parts: the headers of all parts, in order.

        Raises:
            WeightsError: the parts don't belong together.
            UnsupportedModelError: a tensor of a type that no engine here loads.
        """
        self._parts = parts
        self._align = parts[0].integer("general.alignment", 32) or 32
        self._check()
        self._header = self._lay_out()
        self.size = len(self._header) + sum(self._padded(tensor.size) for _, tensor in self._tensors())
        """Bytes of the whole file."""

    def blocks(self) -> Iterator[bytes]:
        """The file's bytes, about a megabyte at a time. Raises `WeightsError` where a part is cut meanwhile."""
        yield self._header
        for part, tensor in self._tensors():
            yield from _copy(part.path, part.data_start + tensor.offset, tensor.size)
            yield bytes(self._padded(tensor.size) - tensor.size)

    def _tensors(self) -> Iterator[tuple[GgufHeader, Tensor]]:
        return ((part, tensor) for part in self._parts for tensor in part.tensors)

    def _padded(self, size: int) -> int:
        return -(-size // self._align) * self._align

    def _check(self) -> None:
        first = self._parts[0]
        names: set[str] = set()
        for index, part in enumerate(self._parts):
            stated = (part.integer("split.no"), part.integer("split.count"), part.version)
            if stated != (index, len(self._parts), first.version):
                raise _odd(part, f"it says split.no {stated[0]} of {stated[1]}, not {index} of {len(self._parts)}")
            for tensor in part.tensors:
                if tensor.type_id not in MODERN_BLOCKS:
                    raise UnsupportedModelError(
                        f"{part.path}: tensor {tensor.name} has type {tensor.type_id}, which this engine does not know"
                    )
                if tensor.name in names:
                    raise _odd(part, f"tensor {tensor.name} is in another part too")
                names.add(tensor.name)
        if len(names) != first.integer("split.tensors.count", len(names)):
            raise _odd(first, f"the parts hold {len(names)} of {first.integer('split.tensors.count')} tensors")

    def _lay_out(self) -> bytes:
        first = self._parts[0]
        kept = [span for key, span in first.spans.items() if key not in _OWN]
        count = sum(len(part.tensors) for part in self._parts)
        header = bytearray(MAGIC + struct.pack("<IQQ", first.version, count, len(kept)))
        with first.path.open("rb") as file:
            for start, end in kept:
                file.seek(start)
                header += file.read(end - start)
        offset = 0
        for _, tensor in self._tensors():
            name, extents = tensor.name.encode(), tensor.shape
            header += struct.pack("<Q", len(name)) + name + struct.pack(f"<I{len(extents)}Q", len(extents), *extents)
            header += struct.pack("<IQ", tensor.type_id, offset)
            offset += self._padded(tensor.size)
        return bytes(header) + bytes(-len(header) % self._align)


def _copy(path: Path, start: int, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while size:
            block = file.read(min(size, _BLOCK))
            if not block:
                raise WeightsError(f"{path} ended early while it was merged; fetch it again")
            size -= len(block)
            yield block


def _odd(part: GgufHeader, why: str) -> WeightsError:
    return WeightsError(f"{part.path} does not belong with the other parts of the model: {why}; correct the source")
