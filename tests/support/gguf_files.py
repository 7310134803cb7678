"""Model files for tests: a tiny one that loads, and headers written byte by byte that no writer would write."""

from __future__ import annotations

import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ixmodal.backends.base import LoadParams
from tools.random_model import SHAPES, write_random_llama

TINY = SHAPES["tiny"]


def write_tiny(path: Path, **overrides: Any) -> Path:
    """A loadable model of 600 tokens in 100 kB; `overrides` as in `write_random_llama`, sizes included."""
    return write_random_llama(path, **(asdict(TINY) | overrides))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as it is; nothing may write to it."""
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny.gguf")


def load_params(path: Path, **fields: Any) -> LoadParams:
    """How tests load: one thread, one slot, chunks of 16 tokens."""
    defaults: dict[str, Any] = {
        "path": str(path),
        "context_length": None,
        "slots": 1,
        "batch_size": 16,
        "threads": 1,
        "gpu_layers": 0,
        "mmap": True,
        "mlock": False,
    }
    return LoadParams(**(defaults | fields))


def string(text: bytes) -> bytes:
    """A GGUF string."""
    return struct.pack("<Q", len(text)) + text


def entry(key: bytes, kind: int, value: bytes) -> bytes:
    """A metadata entry of a value already encoded."""
    return string(key) + struct.pack("<I", kind) + value


def tensor(name: bytes, shape: tuple[int, ...], type_id: int = 0, offset: int = 0) -> bytes:
    """A row of the tensor table."""
    row = string(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", extent) for extent in shape)
    return row + struct.pack("<IQ", type_id, offset)


def header(
    entries: list[bytes], tensors: list[bytes], *, version: int = 3, counts: tuple[int, int] | None = None
) -> bytes:
    """A whole header; `counts` claims other numbers of tensors and entries than there are."""
    tensor_count, entry_count = counts or (len(tensors), len(entries))
    return b"GGUF" + struct.pack("<IQQ", version, tensor_count, entry_count) + b"".join(entries) + b"".join(tensors)
