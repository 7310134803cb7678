"""Slots through ctransformers' own class `LLM`, one each: for what its llama.cpp does not load, and for GPUs.

Every `LLM` loads the weights; with `mmap` their pages are shared.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ixmodal.backends.base import Chunk, LoadParams, Logits, State
from ixmodal.backends.llama_2023 import MAX_BATCH
from ixmodal.errors import EngineError, WeightsError
from ixmodal.models.memory import MAX_COPIES


class WrapperContexts:
    """An `LLM` a slot. What reaches them is checked by the backend."""

    can_copy = can_score = False

    def __init__(self, module: Any, variant: str | None, kind: str, params: LoadParams, context_length: int) -> None:
        """Load the model with `ctransformers.llm`, as the type `kind`. Raises `WeightsError` if it can't be loaded."""
        if params.slots > MAX_COPIES:
            raise WeightsError(f"ctransformers holds {MAX_COPIES} slots at most of this model, not {params.slots}")
        self._threads, self._batch_size = params.threads, min(params.batch_size, MAX_BATCH)
        config = module.Config(
            context_length=context_length, gpu_layers=params.gpu_layers, mmap=params.mmap, mlock=params.mlock
        )
        try:
            self._llms = [module.LLM(params.path, kind, config=config, lib=variant) for _ in range(params.slots)]
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(f"{params.path} can't be loaded: {error}") from None
        self.vocabulary_size = int(self._llms[0].vocab_size)
        self.context_length = int(self._llms[0].context_length)

    def tokenize(self, text: bytes, buffer: ctypes.Array[ctypes.c_int]) -> int:
        """Write the ids of a text's tokens; returns how many. The library does not ask how many fit."""
        return int(self._llms[0].ctransformers_llm_tokenize(text, False, buffer))

    def evaluate(self, chunk: Chunk) -> None:
        """Evaluate a chunk, at most `batch_size` tokens at a time. Raises `EngineError` if the library fails."""
        count = len(chunk.tokens)
        tokens = (ctypes.c_int * count)(*chunk.tokens)
        llm = self._llms[chunk.slot]
        if not llm.ctransformers_llm_batch_eval(tokens, count, chunk.past, self._batch_size, self._threads):
            raise EngineError(f"the library failed to evaluate {count} tokens")

    def logits(self, slot: int) -> Logits:
        """The last token's. Raises `EngineError` before any evaluation."""
        llm = self._llms[slot]
        if llm.ctransformers_llm_logits_size() != self.vocabulary_size:
            raise EngineError("the library holds no logits for this slot")
        return np.ctypeslib.as_array(llm.ctransformers_llm_logits_data(), (self.vocabulary_size,))

    def scores(self, slot: int) -> Logits:
        """Raises `EngineError`."""
        raise EngineError("the library shows the logits of the last token alone")

    def embedding(self, slot: int) -> Logits:
        """The last token's hidden state. Raises `EngineError` if the library offers none."""
        llm = self._llms[slot]
        size = llm.ctransformers_llm_embeddings_size()
        if size <= 0:
            raise EngineError("the library offers no embeddings for this model")
        return np.ctypeslib.as_array(llm.ctransformers_llm_embeddings_data(), (size,))

    def save(self, slot: int, count: int) -> State:
        """Raises `EngineError`."""
        raise EngineError("the library saves no slots of this model")

    def restore(self, slot: int, state: State) -> int:
        """Raises `EngineError`."""
        raise EngineError("the library restores no slots of this model")

    def close(self) -> None:
        """Free the native contexts."""
        self._llms.clear()
