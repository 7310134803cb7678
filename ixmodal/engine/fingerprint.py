"""Which model, loaded how: states are of use to the same one alone."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ixmodal.engine.messages import Load

_PACKAGES = {"ctransformers": "ctransformers", "llama_cpp": "llama-cpp-python"}
_HEAD_BYTES = 1 << 20
_SAMPLES, _SAMPLE_BYTES = 16, 4096


def fingerprint(load: Load) -> bytes:
    """32 bytes that differ if the file, the library or the layout of its cache does. Raises `OSError`.

    Of the file, its size, time, beginning and samples are looked at: reading it whole would cost a cold start.
    """
    path = Path(load.path)
    status = path.stat()
    layout = [load.context_length, load.slots, load.cache_type, load.flash_attention, load.gpu_layers]
    told = [load.backend, _library(load.backend), status.st_size, status.st_mtime_ns, layout]
    digest = hashlib.blake2b(json.dumps(told).encode(), digest_size=32)
    with path.open("rb") as file:
        digest.update(file.read(_HEAD_BYTES))
        for number in range(1, _SAMPLES + 1):
            file.seek(max(0, status.st_size * number // _SAMPLES - _SAMPLE_BYTES))
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.digest()


def _library(backend: str) -> str:
    try:
        return version(_PACKAGES.get(backend, "numpy"))
    except PackageNotFoundError:
        return ""
