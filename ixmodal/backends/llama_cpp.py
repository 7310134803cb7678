"""GGUF models through llama.cpp, by llama-cpp-python's low-level functions: the only file that imports it.

One context holds a sequence for each slot, with keys and values of its own (`kv_unified` false): a slot can always be
filled to the end, and slots don't pay for each other's length. A forward is one batch of all its chunks. Assertions of
the library end the process and its exceptions can't be caught here, so each call checks first what the library would.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ixmodal.backends.base import Chunk, LoadParams, Logits
from ixmodal.backends.llama_cpp_batch import NativeBatch
from ixmodal.backends.llama_cpp_states import CopiedSequences
from ixmodal.errors import EngineError, WeightsError
from ixmodal.models.modern import inspect_modern
from ixmodal.models.vocabulary import SPACE, TokenType

_PACKAGE = "llama_cpp"
_TEXT_TYPES = (TokenType.NORMAL, TokenType.USER_DEFINED, TokenType.BYTE)
_MAX_PHYSICAL_BATCH = 512
_CACHE_TYPES = {"f16": 1, "bf16": 30, "q8_0": 8, "q4_0": 2}  # enum ggml_type in ggml.h
_MAX_TEXT_BYTES = 1 << 28
_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR
_complaints: deque[str] = deque(maxlen=3)
"""What the library last complained of: its only account of why a file was not loaded."""


def _library() -> Any:
    """The low-level module without the package's `__init__`, which brings a web server's worth of imports."""
    if _PACKAGE not in sys.modules:
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None:
            raise WeightsError("llama-cpp-python is not installed; run `pip install 'ixmodal[llama-cpp]'`")
        sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    library: Any = importlib.import_module(f"{_PACKAGE}.llama_cpp")
    if not hasattr(library, "ixmodal_log"):
        library.ixmodal_log = library.llama_log_callback(_note)  # kept: the library calls it for ever
        library.llama_log_set(library.ixmodal_log, ctypes.c_void_p(0))
        library.llama_backend_init()
    return library


def _note(level: int, text: bytes, _: Any) -> None:
    if level == _ERROR_LEVEL:
        _complaints.append(text.decode("utf-8", "replace").strip())


class LlamaCppBackend(CopiedSequences):
    """One native context, a sequence a slot."""

    can_score = can_pool = True

    def __init__(self, params: LoadParams) -> None:
        """Load the model.

        Raises:
            WeightsError: the file can't be loaded, or not as asked for.
            UnsupportedModelError: it is of a kind that is not served with this library.
        """
        found = inspect_modern(Path(params.path))
        self._context: Any = None
        self._model: Any = None
        self._library = library = _library()
        if params.gpu_layers and not library.llama_supports_gpu_offload():
            raise WeightsError(
                "llama-cpp-python is built without GPU support: set gpu_layers = 0, or build it with CUDA"
            )
        self.chat_template = found.chat_template
        self.slots = self.max_chunks = params.slots
        self._batch_size = max(params.batch_size, params.slots)
        _complaints.clear()
        self._model = library.llama_model_load_from_file(params.path.encode(), self._model_params(params))
        if not self._model:
            raise WeightsError(f"{params.path} can't be loaded: {self._complaint()}")
        self._words = library.llama_model_get_vocab(self._model)
        if (size := library.llama_vocab_n_tokens(self._words)) != len(found.vocabulary):
            self.close()
            raise WeightsError(
                f"the library sees {size} tokens, the header {len(found.vocabulary)}; fetch the file again"
            )
        self.vocabulary = replace(found.vocabulary, add_bos=bool(library.llama_vocab_get_add_bos(self._words)))
        self._learn_bytes()
        asked = params.context_length or found.context_length
        self._context = library.llama_init_from_model(self._model, self._context_params(params, asked))
        if not self._context:
            reason = self._complaint()
            self.close()
            raise WeightsError(f"{params.path} can't be used as declared: {reason}")
        self.context_length = min(asked, library.llama_n_ctx_seq(self._context))
        self._memory = library.llama_get_memory(self._context)
        # A state of a sliding window leaves out what the window has passed over.
        self.can_copy = not library.llama_model_n_swa(self._model)
        self._batch = NativeBatch(library, self._batch_size)
        self._vocabulary_size, self._width = size, library.llama_model_n_embd(self._model)
        self._held = [0] * self.slots
        self._rows: dict[int, range] = {}
        self._outputs: dict[str, Logits | None] = {}
        self._has_embeddings = False

    def _model_params(self, params: LoadParams) -> Any:
        native = self._library.llama_model_default_params()
        native.n_gpu_layers = params.gpu_layers
        native.load_mode = int(params.mmap) + 2 * int(params.mlock)  # llama_load_mode: none, mmap, mlock, both
        return native

    def _context_params(self, params: LoadParams, context_length: int) -> Any:
        library = self._library
        native = library.llama_context_default_params()
        native.n_ctx = context_length * params.slots
        native.n_batch = self._batch_size
        native.n_ubatch = min(self._batch_size, _MAX_PHYSICAL_BATCH)
        native.n_seq_max = params.slots
        native.n_threads = native.n_threads_batch = params.threads
        native.kv_unified = False
        native.swa_full = True  # a prefix can be kept only where no window has passed over it
        native.pooling_type = 0  # none: hidden states of tokens
        native.type_k = native.type_v = _CACHE_TYPES[params.cache_type]
        wanted = params.flash_attention
        if wanted is None and (params.cache_type != "f16" or not params.gpu_layers):
            # Quantised caches can't be read without. On a CPU it walks the cache score by score: with f16 plain
            # matrices are faster from some 80 tokens on, twice as fast at 250, though the library would choose it.
            wanted = params.cache_type != "f16"
        native.flash_attn_type = -1 if wanted is None else int(wanted)  # llama_flash_attn_type: auto, disabled, enabled
        return native

    @staticmethod
    def _complaint() -> str:
        return " ".join(_complaints)[:500] or "the library does not say why"

    def _learn_bytes(self) -> None:
        vocabulary = self.vocabulary
        ids = {
            text: token
            for token, (text, kind) in enumerate(zip(vocabulary.texts, vocabulary.types, strict=True))
            if not vocabulary.byte_level or kind in _TEXT_TYPES
        }
        spelled = [bytes([value]) if vocabulary.byte_level else b"<0x%02X>" % value for value in range(256)]
        self._bytes = [ids.get(text) for text in spelled]
        self._special = {token for token, kind in enumerate(vocabulary.types) if kind not in _TEXT_TYPES}
        self._special.update(vocabulary.infill_ids or ())

    def tokenize(self, text: str) -> list[int]:
        """Token ids of plain text, with the space in front where the vocabulary asks for one."""
        data = text.encode()
        if not data:
            return []
        if len(data) > _MAX_TEXT_BYTES:
            raise EngineError(f"a text of {len(data)} bytes is too long for the tokenizer")
        # A token a byte is the most; a space may become three bytes, with one more of them in front.
        buffer = (ctypes.c_int32 * (len(data) + 2 * data.count(b" ") + 4))()
        arguments = (self._words, data, len(data), buffer, len(buffer), False, False)
        count = self._library.llama_tokenize(*arguments)
        if not 0 <= count <= len(buffer):
            raise EngineError(f"the tokenizer failed on a text of {len(data)} bytes")
        tokens = buffer[:count]
        if self._special.isdisjoint(tokens):
            return tokens
        return [part for token in tokens for part in (self._spell(token) if token in self._special else [token])]

    def _spell(self, token: int) -> list[int]:
        # Pieces may merge into a control token as into any other: in a text it is a text, byte by byte.
        text = self.vocabulary.texts[token]
        data = text if self.vocabulary.byte_level else text.replace(SPACE, b" ")
        return [found for value in data if (found := self._bytes[value]) is not None]

    def forward(self, chunks: Sequence[Chunk]) -> None:
        """Evaluate all chunks in one batch. Raises `EngineError` for what must not reach native code."""
        self._check(chunks)
        self._rows = {}
        for chunk in chunks:
            if self._held[chunk.slot] > chunk.past:
                self._cut(chunk.slot, chunk.past)
        embeds = any(chunk.embeds for chunk in chunks)
        if embeds != self._has_embeddings:
            self._has_embeddings = embeds
            self._library.llama_set_embeddings(self._context, embeds)
        rows = self._batch.fill(chunks, outputs_all=embeds)
        _complaints.clear()
        code = self._library.llama_decode(self._context, self._batch.native)
        if code != 0:
            self._forget(chunk.slot for chunk in chunks)
            raise EngineError(f"the library failed to evaluate {self._batch.native.n_tokens} tokens ({code})")
        self._rows, self._outputs = rows, {}
        for chunk in chunks:
            self._held[chunk.slot] += len(chunk.tokens)

    def _check(self, chunks: Sequence[Chunk]) -> None:
        if not self._context:
            raise EngineError("the model is closed")
        size, total, slots = self._vocabulary_size, 0, set[int]()
        for chunk in chunks:
            count, slot = len(chunk.tokens), chunk.slot
            if not 0 <= slot < self.slots or slot in slots:
                raise EngineError("a forward needs chunks of different slots")
            if not count or chunk.past < 0 or chunk.past + count > self.context_length:
                raise EngineError(f"{count} tokens after {chunk.past} don't fit into {self.context_length}")
            if chunk.past > self._held[slot]:
                raise EngineError(f"{chunk.past} tokens are said to be cached, but {self._held[slot]} are")
            if min(chunk.tokens) < 0 or max(chunk.tokens) >= size:
                raise EngineError(f"a token id lies outside the vocabulary of {size}")
            slots.add(slot)
            total += count
        if not slots:
            raise EngineError("a forward needs chunks of different slots")
        if total > self._batch_size:
            raise EngineError(f"{total} tokens are more than a batch of {self._batch_size}")

    def logits(self, slot: int) -> Logits:
        """A view of the library's own memory, shape (vocabulary,). Raises `EngineError` if not in the last forward."""
        last: Logits = self.scores(slot)[-1]
        return last

    def scores(self, slot: int) -> Logits:
        """A view of the library's own memory, shape (tokens, vocabulary). Raises `EngineError` as `logits` does."""
        rows = self._rows.get(slot)
        outputs = self._output("logits", self._vocabulary_size) if rows else None
        if rows is None or outputs is None:
            raise EngineError("the library holds no logits for this slot")
        return outputs[rows.start : rows.stop]

    def embedding(self, slot: int) -> Logits:
        """A view of the library's own memory, shape (width,). Raises `EngineError` if not in the last forward."""
        last: Logits = self.embeddings(slot)[-1]
        return last

    def embeddings(self, slot: int) -> Logits:
        """A view of the library's own memory, shape (tokens, width). Raises `EngineError` as `embedding` does."""
        rows = self._rows.get(slot) if self._has_embeddings else None
        outputs = self._output("embeddings", self._width) if rows else None
        if rows is None or outputs is None:
            raise EngineError("the library offers no embeddings for this model")
        return outputs[rows.start : rows.stop]

    def _output(self, kind: str, width: int) -> Logits | None:
        """All of the last forward's rows of a kind, shape (rows, width), in the batch's order; looked up once."""
        if kind not in self._outputs:
            read = getattr(self._library, f"llama_get_{kind}_ith")
            first = read(self._context, -self._batch.rows)
            self._outputs[kind] = np.ctypeslib.as_array(first, (self._batch.rows, width)) if first else None
        return self._outputs[kind]

    def close(self) -> None:
        """Free the native memory."""
        self._rows = {}
        if self._context:
            self._library.llama_free(self._context)
        if self._model:
            self._library.llama_model_free(self._model)
        self._context = self._model = None
