"""Answers that tokenize to what was generated, from a model that says anything."""

from __future__ import annotations

from pathlib import Path

from gguf import GGUFReader

from ixmodal.benchmark.prompts import WORDS


def only_words(model: Path) -> dict[str, float]:
    """A `logit_bias` under which a model of random weights writes nothing but whole words.

    A trained model's greedy answer is mostly read again as the same tokens; noise is not, and what a cache holds of
    it would serve nobody.
    """
    field = GGUFReader(model).fields["tokenizer.ggml.tokens"]
    wanted = {f"\u2581{word}".encode() for word in WORDS}
    ids = [at for at, part in enumerate(field.data) if bytes(field.parts[part]) in wanted]
    return {str(token): 100.0 for token in ids}
