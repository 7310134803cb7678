"""GGML models through ctransformers 0.2.27: the only file that imports it.

The library is the llama.cpp of September 2023 behind ctypes. It trusts its caller with everything, so each call here
checks what the library does not: token ids, lengths, buffer sizes, NUL bytes.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ixmodal.backends.base import Chunk, LoadParams, Logits, State
from ixmodal.backends.cpu import library_variant
from ixmodal.backends.ctransformers_llama import LlamaContexts
from ixmodal.backends.ctransformers_wrapper import WrapperContexts
from ixmodal.errors import EngineError, WeightsError
from ixmodal.models.inspect import ModelFile, inspect
from ixmodal.models.vocabulary import SPACE, TokenType

_TEXT_TYPES = (TokenType.NORMAL, TokenType.USER_DEFINED, TokenType.BYTE)


def _library() -> Any:
    """The module `ctransformers.llm` without the package's `__init__`, which costs a second of hub imports."""
    if "ctransformers" not in sys.modules:
        spec = importlib.util.find_spec("ctransformers")
        if spec is None:
            raise WeightsError("ctransformers is not installed; run `pip install ctransformers==0.2.27`")
        sys.modules["ctransformers"] = importlib.util.module_from_spec(spec)
    return importlib.import_module("ctransformers.llm")


class CtransformersBackend:
    """A native context a slot: of one copy of the weights for GGUF files on a CPU, else each with a copy of its own."""

    max_chunks = 1
    can_pool = False

    def __init__(self, params: LoadParams) -> None:
        """Load the model.

        Raises:
            WeightsError: the file can't be loaded.
            UnsupportedModelError: it is of a kind that this library does not know.
        """
        model = inspect(Path(params.path))
        self.vocabulary = model.vocabulary
        ids = {text: token for token, text in enumerate(model.vocabulary.texts)}
        self._bytes = [ids[b"<0x%02X>" % value] for value in range(256)]
        self._special = {token for token, kind in enumerate(model.vocabulary.types) if kind not in _TEXT_TYPES}
        self._special.update(model.vocabulary.infill_ids or ())
        self.chat_template = model.chat_template
        self.slots = params.slots
        self._adds_space = model.format == "gguf"  # in front of a text; the older loader leaves that to its caller
        self._closed = False
        self._held = [0] * params.slots
        asked = params.context_length or model.context_length
        self._contexts = _contexts(model, params, asked)
        if self._contexts.vocabulary_size != len(self.vocabulary):
            raise WeightsError(
                f"the library sees {self._contexts.vocabulary_size} tokens, the header {len(self.vocabulary)}; "
                "fetch the file again"
            )
        self.context_length = min(asked, self._contexts.context_length)
        self.can_copy, self.can_score = self._contexts.can_copy, self._contexts.can_score

    def tokenize(self, text: str) -> list[int]:
        """Token ids of plain text, with the space in front that SentencePiece vocabularies ask for."""
        head, *rest = text.split("\0")
        tokens = self._tokenize(head.encode() if self._adds_space else b" " + head.encode()) if head else []
        for part in rest:
            tokens.append(self._bytes[0])
            tokens += self._continue(part.encode()) if part else []
        return tokens

    def _continue(self, text: bytes) -> list[int]:
        # Tokenized alone, a text gets a space in front; after a character that is in no piece it does not.
        anchor = self._bytes[1]
        found = self._tokenize(b"\1" + text)
        return found[found.index(anchor) + 1 :] if anchor in found else self._tokenize(text)

    def _tokenize(self, text: bytes) -> list[int]:
        # The library's own wrapper sizes this buffer in characters; byte fallback then writes past its end.
        # A space becomes U+2581, three bytes, and there is one more of them in front.
        buffer = (ctypes.c_int * (len(text) + 2 * text.count(b" ") + 4))()
        count = self._contexts.tokenize(text, buffer)
        if not 0 <= count <= len(buffer):
            raise EngineError(f"the tokenizer failed on a text of {len(text)} bytes")
        tokens = buffer[:count]
        if self._special.isdisjoint(tokens):
            return tokens
        return [part for token in tokens for part in (self._spell(token) if token in self._special else [token])]

    def _spell(self, token: int) -> list[int]:
        # `<` and `s>` merge into `<s>` as readily as any two pieces into a word: here it is a text, byte by byte.
        return [self._bytes[value] for value in self.vocabulary.texts[token].replace(SPACE, b" ")]

    def forward(self, chunks: Sequence[Chunk]) -> None:
        """Evaluate chunks one by one. Raises `EngineError` for what must not reach native code."""
        for chunk in chunks:
            self._check(chunk)
            self._held[chunk.slot] = 0
            self._contexts.evaluate(chunk)
            self._held[chunk.slot] = chunk.past + len(chunk.tokens)

    def _check(self, chunk: Chunk) -> None:
        count, size = len(chunk.tokens), len(self.vocabulary)
        if not count or chunk.past < 0 or chunk.past + count > self.context_length:
            raise EngineError(f"{count} tokens after {chunk.past} don't fit into {self.context_length}")
        self._check_holds(chunk.slot, chunk.past)
        if min(chunk.tokens) < 0 or max(chunk.tokens) >= size:
            raise EngineError(f"a token id lies outside the vocabulary of {size}")

    def _check_holds(self, slot: int, count: int) -> None:
        if self._closed or not 0 <= slot < self.slots:
            raise EngineError(f"there is no slot {slot}, or the model is closed")
        if not 0 <= count <= self._held[slot]:
            raise EngineError(f"{count} tokens are said to be cached in slot {slot}, but {self._held[slot]} are")

    def logits(self, slot: int) -> Logits:
        """A view of the library's own memory, shape (vocabulary,). Raises `EngineError` before any forward."""
        self._check_holds(slot, 0)
        return self._contexts.logits(slot)

    def scores(self, slot: int) -> Logits:
        """Shape (tokens, vocabulary). Raises `EngineError` unless the slot's last chunk `scores`."""
        self._check_holds(slot, 0)
        return self._contexts.scores(slot)

    def embedding(self, slot: int) -> Logits:
        """A view of the library's own memory, shape (width,). Raises `EngineError` if the library offers none."""
        self._check_holds(slot, 0)
        return self._contexts.embedding(slot)

    def embeddings(self, slot: int) -> Logits:
        """Raises `EngineError`: this library keeps the last token's hidden state alone."""
        raise EngineError("the library keeps the hidden state of the last token alone")

    def copy(self, source: int, target: int, count: int) -> None:
        """Through a state. Raises `EngineError` for what is not held, or if the library fails."""
        self._check_holds(source, count)
        self._check_holds(target, 0)
        if source == target:
            raise EngineError("a slot can't be copied to itself")
        self._held[target] = 0
        if count:
            self.restore(target, self._contexts.save(source, count))

    def save(self, slot: int, count: int) -> State:
        """A slot's first tokens, at least one, as bytes. Raises `EngineError` for what is not held."""
        self._check_holds(slot, count)
        return self._contexts.save(slot, count)

    def restore(self, slot: int, state: State) -> None:
        """Put a saved state in a slot. Raises `EngineError` for what is none."""
        self._check_holds(slot, 0)
        self._held[slot] = 0
        self._held[slot] = self._contexts.restore(slot, state)

    def close(self) -> None:
        """Free the native memory."""
        self._closed = True
        self._contexts.close()


def _contexts(model: ModelFile, params: LoadParams, context_length: int) -> LlamaContexts | WrapperContexts:
    """The slots, by llama.cpp's functions where they are proven: a GGUF file, Linux on x86-64, no GPU."""
    module, variant = _library(), library_variant() if params.gpu_layers == 0 else None
    if model.format == "gguf" and variant is not None:
        path = importlib.import_module("ctransformers.lib").find_library(variant)
        return LlamaContexts(path, params, context_length, model.memory)
    kind = "llama" if model.format == "ggjt" else "gguf"
    return WrapperContexts(module, variant, kind, params, context_length)
