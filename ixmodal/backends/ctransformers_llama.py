"""Slots of one GGUF model in ctransformers' library: a context each, on one copy of the weights.

`LLM`, ctransformers' own class, loads the weights again for each context, shows the last token's logits alone and
knows no states. The same library exports llama.cpp's functions, which do better: see `llama_2023.py`.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from ixmodal.backends import llama_2023
from ixmodal.backends.base import Chunk, LoadParams, Logits, State
from ixmodal.backends.ctransformers_state import StateCopier
from ixmodal.errors import EngineError, WeightsError
from ixmodal.models.inspect import Memory
from ixmodal.models.memory import MAX_CONTEXTS

_LOGITS_AT = 5136
"""Where a context keeps its logits' vector, in the wheel's builds for Linux on x86-64: see `LlamaContexts._switch`."""
_complaints: deque[str] = deque(maxlen=3)
"""What the library last complained of: its only account of why a file was not loaded."""


def _note(level: int, text: bytes, _: Any) -> None:
    if level == llama_2023.LOG_ERROR:
        _complaints.append(text.decode("utf-8", "replace").strip())


_LOG = llama_2023.LogCallback(_note)  # kept: the library calls it for ever


def _complaint() -> str:
    return " ".join(_complaints)[:500] or "the library does not say why"


class LlamaContexts:
    """Contexts on one model. What reaches them is checked by the backend."""

    def __init__(self, path: str, params: LoadParams, context_length: int, memory: Memory) -> None:
        """Load the model with the library at `path`. Raises `WeightsError` if it can't be loaded."""
        if params.slots > MAX_CONTEXTS:
            raise WeightsError(f"ctransformers holds {MAX_CONTEXTS} slots at most, not {params.slots}")
        self._library = llama_2023.load_llama(path)
        self._threads, self._batch_size = params.threads, min(params.batch_size, llama_2023.MAX_BATCH)
        self._contexts, self._models = list[int](), list[int]()
        self._free = weakref.finalize(self, _free, self._library, self._contexts, self._models)
        self._model = self._load(params, context_length)
        self.vocabulary_size = int(self._library.llama_model_n_vocab(self._model))
        self.context_length = int(self._library.llama_model_n_ctx(self._model))
        self._width = int(self._library.llama_model_n_embd(self._model))
        self._evaluated = [False] * params.slots
        self._scores: list[Logits | None] = [None] * params.slots
        self._states = StateCopier(
            self._library,
            blocks=memory.blocks,
            context_length=self.context_length,
            width=self._width,
            cache_per_token=memory.cache_per_token,
        )
        self.can_copy = all(self._states.fits(context, self.vocabulary_size) for context in self._contexts)
        self._switches = [self._switch(context) for context in self._contexts]
        self.can_score = None not in self._switches

    def _load(self, params: LoadParams, context_length: int) -> int:
        native = llama_2023.default_params()
        native.n_ctx, native.use_mmap, native.use_mlock = context_length, params.mmap, params.mlock
        native.embedding = True
        self._library.llama_log_set(_LOG, None)
        _complaints.clear()
        model: int | None = self._library.llama_load_model_from_file(params.path.encode(), native)
        if not model:
            raise WeightsError(f"{params.path} can't be loaded: {_complaint()}")
        self._models.append(model)
        for _ in range(params.slots):
            context = self._library.llama_new_context_with_model(model, native)
            if not context:
                raise WeightsError(f"{params.path} can't be used as declared: {_complaint()}")
            self._contexts.append(context)
        return model

    def _switch(self, context: int) -> ctypes.c_bool | None:
        """Whether a context shows all logits: a flag that the C API sets only when a context is made.

        It then reserves logits for a whole context, half a gigabyte of a state's bytes. So the flag is set for the
        evaluations that need it. It lies behind the vector of logits, before that of the hidden state. None unless all
        of both is as it must be.
        """
        logits, width = self._library.llama_get_logits(context), 4 * self._width
        hidden = self._library.llama_get_embeddings(context)
        found = list((ctypes.c_uint64 * 7).from_address(context + _LOGITS_AT))
        reserved = logits + 4 * self.vocabulary_size
        if found[:3] != [logits, logits, reserved] or found[4:] != [hidden, hidden + width, hidden + width]:
            return None
        return None if found[3] & 0xFF else ctypes.c_bool.from_address(context + _LOGITS_AT + 24)

    def tokenize(self, text: bytes, buffer: ctypes.Array[ctypes.c_int]) -> int:
        """Write the ids of a text's tokens; returns how many, or a negative number if the buffer is too small."""
        return int(self._library.llama_tokenize_with_model(self._model, text, buffer, len(buffer), False))

    def evaluate(self, chunk: Chunk) -> None:
        """Evaluate a chunk, at most `batch_size` tokens at a time. Raises `EngineError` if the library fails."""
        slot, rows = chunk.slot, list[Logits]()
        self._scores[slot], self._evaluated[slot] = None, False
        for at in range(0, len(chunk.tokens), self._batch_size):
            part = chunk.tokens[at : at + self._batch_size]
            if chunk.scores:
                found = self._evaluate_all(slot, part, chunk.past + at)
                rows.append(found if len(part) == len(chunk.tokens) else found.copy())  # the next part overwrites it
            else:
                self._evaluate(slot, part, chunk.past + at)
        self._evaluated[slot] = True
        if chunk.scores:
            self._scores[slot] = rows[0] if len(rows) == 1 else np.concatenate(rows)

    def _evaluate(self, slot: int, part: Sequence[int], past: int) -> None:
        tokens = (ctypes.c_int * len(part))(*part)
        if self._library.llama_eval(self._contexts[slot], tokens, len(part), past, self._threads):
            raise EngineError(f"the library failed to evaluate {len(part)} tokens")

    def _evaluate_all(self, slot: int, part: Sequence[int], past: int) -> Logits:
        context, switch = self._contexts[slot], self._switches[slot]
        if switch is None:
            raise EngineError("the library shows the logits of the last token alone")
        switch.value = True
        try:
            self._evaluate(slot, part, past)
        finally:
            switch.value = False
        size = len(part) * self.vocabulary_size
        begin, end = (ctypes.c_uint64 * 2).from_address(context + _LOGITS_AT)
        if end - begin != 4 * size:
            raise EngineError(f"the library gave {(end - begin) // 4} logits for {len(part)} tokens")
        return _floats(begin, size).reshape(len(part), -1)

    def logits(self, slot: int) -> Logits:
        """The last token's. Raises `EngineError` where the slot's last evaluation failed, or there was none."""
        scores = self._scores[slot]
        if not self._evaluated[slot]:
            raise EngineError("the library holds no logits for this slot")
        if scores is not None:
            last: Logits = scores[-1]
            return last
        return _floats(self._library.llama_get_logits(self._contexts[slot]), self.vocabulary_size)

    def scores(self, slot: int) -> Logits:
        """All tokens' of the last chunk. Raises `EngineError` unless it `scores`."""
        scores = self._scores[slot]
        if scores is None:
            raise EngineError("the library holds no logits of all tokens for this slot")
        return scores

    def embedding(self, slot: int) -> Logits:
        """The last token's hidden state. Raises `EngineError` as `logits` does."""
        if not self._evaluated[slot]:
            raise EngineError("the library holds no hidden state for this slot")
        return _floats(self._library.llama_get_embeddings(self._contexts[slot]), self._width)

    def save(self, slot: int, count: int) -> State:
        """Raises `EngineError` if the library gives something else than `count` tokens, at least one."""
        return self._states.save(self._contexts[slot], count)

    def restore(self, slot: int, state: State) -> int:
        """Returns how many tokens the slot holds now. Raises `EngineError` for a state of another size."""
        self._evaluated[slot], self._scores[slot] = False, None
        return self._states.restore(self._contexts[slot], state)

    def close(self) -> None:
        """Free contexts, then the model. Happens by itself where nobody holds this any more: ggml's room is small."""
        self._free()


def _free(library: Any, contexts: list[int], models: list[int]) -> None:
    while contexts:
        library.llama_free(contexts.pop())
    while models:
        library.llama_free_model(models.pop())


def _floats(address: int, count: int) -> Logits:
    """A view of the library's memory, writable."""
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))
