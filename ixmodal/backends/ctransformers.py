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

import numpy as np

from ixmodal.backends.base import Chunk, LoadParams, Logits, Uncopied
from ixmodal.backends.cpu import library_variant
from ixmodal.errors import EngineError, WeightsError
from ixmodal.models.inspect import inspect
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


class CtransformersBackend(Uncopied):
    """One native context a slot; with `mmap` they share the weights' pages."""

    max_chunks = 1
    can_score = can_pool = False

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
        self.context_length = params.context_length or model.context_length
        self.slots = params.slots
        self._adds_space = model.format == "gguf"  # in front of a text; the older loader leaves that to its caller
        self._threads, self._batch_size = params.threads, params.batch_size
        library = _library()
        config = library.Config(
            context_length=self.context_length,
            gpu_layers=params.gpu_layers,
            mmap=params.mmap,
            mlock=params.mlock,
        )
        variant = library_variant() if params.gpu_layers == 0 else None
        try:
            kind = "llama" if model.format == "ggjt" else "gguf"
            self._contexts = [library.LLM(params.path, kind, config=config, lib=variant) for _ in range(params.slots)]
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(f"{params.path} can't be loaded: {error}") from None
        self._check()

    def _check(self) -> None:
        context = self._contexts[0]
        if context.vocab_size != len(self.vocabulary):
            raise WeightsError(
                f"the library sees {context.vocab_size} tokens, the header {len(self.vocabulary)}; fetch the file again"
            )
        self.context_length = min(self.context_length, context.context_length)

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
        count = self._contexts[0].ctransformers_llm_tokenize(text, False, buffer)
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
            self._evaluate(chunk)

    def _evaluate(self, chunk: Chunk) -> None:
        count, size = len(chunk.tokens), len(self.vocabulary)
        if not count or chunk.past < 0 or chunk.past + count > self.context_length:
            raise EngineError(f"{count} tokens after {chunk.past} don't fit into {self.context_length}")
        if not all(0 <= token < size for token in chunk.tokens):
            raise EngineError(f"a token id lies outside the vocabulary of {size}")
        tokens = (ctypes.c_int * count)(*chunk.tokens)
        done = self._contexts[chunk.slot].ctransformers_llm_batch_eval(
            tokens, count, chunk.past, self._batch_size, self._threads
        )
        if not done:
            raise EngineError(f"the library failed to evaluate {count} tokens")

    def logits(self, slot: int) -> Logits:
        """A view of the library's own memory, shape (vocabulary,). Raises `EngineError` before any forward."""
        context = self._contexts[slot]
        if context.ctransformers_llm_logits_size() != len(self.vocabulary):
            raise EngineError("the library holds no logits for this slot")
        return np.ctypeslib.as_array(context.ctransformers_llm_logits_data(), (len(self.vocabulary),))

    def embedding(self, slot: int) -> Logits:
        """A view of the library's own memory, shape (width,). Raises `EngineError` if the library offers none."""
        context = self._contexts[slot]
        size = context.ctransformers_llm_embeddings_size()
        if size <= 0:
            raise EngineError("the library offers no embeddings for this model")
        return np.ctypeslib.as_array(context.ctransformers_llm_embeddings_data(), (size,))

    def scores(self, slot: int) -> Logits:
        """Raises `EngineError`: this way into the library shows the last token's logits alone."""
        raise EngineError("the library shows the logits of the last token alone")

    def embeddings(self, slot: int) -> Logits:
        """Raises `EngineError`: this library keeps the last token's hidden state alone."""
        raise EngineError("the library keeps the hidden state of the last token alone")

    def close(self) -> None:
        """Free the native contexts."""
        self._contexts.clear()
