"""Which engine loads a model file: what the spec says, or the first that its header suits."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

from ixmodal.errors import UnsupportedModelError
from ixmodal.models.gguf import GgufHeader
from ixmodal.models.inspect import ModelFile, check_architecture, inspect
from ixmodal.models.modern import check_modern, inspect_modern

EXTRA = "ixmodal[llama-cpp]"
_Found = TypeVar("_Found")
_Choice = Literal["auto", "ctransformers", "llama_cpp"]


def judge(path: Path, engine: _Choice = "auto") -> ModelFile:
    """Read and judge a model file for an engine; `auto` takes ctransformers where it can serve, else llama.cpp.

    Raises:
        WeightsError: missing, damaged or without a vocabulary.
        UnsupportedModelError: the engine can't load it, or is not installed.
    """
    return _choose(engine, lambda: _inspect(inspect, path), lambda: _inspect(inspect_modern, path))


def _inspect(how: Callable[[Path], ModelFile], path: Path) -> ModelFile:
    """A start judges a file several times, a large vocabulary takes a while: what did not change is not read again."""
    try:
        status = path.stat()
    except OSError:
        return how(path)  # which says what is wrong
    return _inspect_once(how, path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=2)
def _inspect_once(how: Callable[[Path], ModelFile], path: Path, _identity: tuple[int, ...]) -> ModelFile:
    return how(path)


def judge_architecture(header: GgufHeader, engine: _Choice = "auto") -> str:
    """The architecture, judged before the tensors are there. Raises as `judge`."""
    return _choose(engine, lambda: check_architecture(header), lambda: check_modern(header))


def _choose(engine: _Choice, first: Callable[[], _Found], second: Callable[[], _Found]) -> _Found:
    if engine == "ctransformers":
        return first()
    if engine == "llama_cpp":
        found = second()
        if not _is_installed():
            raise UnsupportedModelError(f"the llama_cpp engine is not installed; run `pip install '{EXTRA}'`")
        return found
    try:
        return first()
    except UnsupportedModelError as error:
        refusal = error
    try:
        found = second()
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{refusal.message}. Nor does llama.cpp load it: {error.message}") from None
    if not _is_installed():
        raise UnsupportedModelError(f"{refusal.message}; or install the engine that loads it: pip install '{EXTRA}'")
    return found


def _is_installed() -> bool:
    return importlib.util.find_spec("llama_cpp") is not None
