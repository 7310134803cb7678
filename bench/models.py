"""The files that all servers are measured on: random weights, made once, and the model that ships."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import ixmodal
from tools.random_model import SHAPES, write_random_llama

MODELS = Path(__file__).parent / "models"
RESULTS = Path(__file__).parent / "results"
NAMES = {
    "110m": "110 M parameters, Q4_0, vocabulary 32,000, random weights",
    "1b": "1.1 B parameters (TinyLlama's shape), Q4_0, vocabulary 32,000, random weights",
    "demo": "the model that ships",
}


def model_file(name: str) -> Path:
    """The file of one of `NAMES`, written first where it is not there yet."""
    if name == "demo":
        return Path(ixmodal.__file__).parent / "models/demo/demo.gguf"
    path = (MODELS / f"random-{name}-q4_0.gguf").absolute()
    if not path.exists():
        MODELS.mkdir(exist_ok=True)
        partial = path.with_suffix(".partial")
        write_random_llama(partial, **asdict(SHAPES[name]))
        partial.rename(path)
    return path.resolve()
