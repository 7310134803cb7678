"""What a model takes once it is loaded, by its header: the one estimate that the server and `ixmodal check` share."""

from __future__ import annotations

from dataclasses import dataclass

from ixmodal.models.inspect import ModelFile

_SCORE_BYTES = 4
"""Of a score, in the library's work space: one for each token of a batch, of the context, and each head."""
MAX_CONTEXTS, MAX_COPIES = 62, 31
"""Slots of ctransformers beside one copy of the weights, and with a copy each. ggml holds 64 contexts of its own kind:
each copy, each slot and evaluation take one, and more end the process."""
_CACHE_STEP = 256
"""Tokens to whose multiple llama.cpp rounds a slot's context."""
_CACHE_SHARES = {"f16": 1.0, "bf16": 1.0, "q8_0": 34 / 64, "q4_0": 18 / 64}
"""Bytes of the cache's types, as shares of those of 16-bit floats: blocks of 32 take 34 and 18 bytes."""
_MOST_SAVED = 256 * 1024 * 1024
"""Bytes of saved states where nothing is declared."""


@dataclass(frozen=True)
class Need:
    """Bytes that a loaded model takes in the machine's memory and, where layers are offloaded, in the GPU's."""

    weights: int
    cache: int
    work: int
    host: int
    gpu: int
    saved: int = 0
    """Of the host's, what states of slots that were given to other prompts may take."""


def most_slots(found: ModelFile, gpu_layers: int) -> int | None:
    """How many slots the engine has room for; None if as many as one likes."""
    if found.engine == "llama_cpp":
        return None
    return MAX_CONTEXTS if found.format == "gguf" and not gpu_layers else MAX_COPIES


def need_of(
    found: ModelFile,
    *,
    slots: int,
    context_length: int | None,
    batch_size: int,
    gpu_layers: int,
    mmap: bool,
    cache_type: str = "f16",
    memory_cache: int | None = 0,
) -> Need:
    """What a model takes. `gpu_layers` beyond what there are means all.

    `memory_cache` bounds saved states, bytes; None: what all slots' keys and values take, 256 MiB at most. There are
    none where slots can't be copied: in files before GGUF, and with ctransformers on a GPU.

    Every slot has a context of its own: keys and values of 16 bits for each token, and work space for the scores and
    logits of one batch. The slots of a GGUF file share its weights on a CPU. Of other files, and on a GPU, each slot
    has its own copy; mapped, it is in memory once nevertheless. llama.cpp needs one context, so weights and work space
    are there once.
    """
    memory, context = found.memory, context_length or found.context_length
    copies, contexts, logits = (1 if found.format == "gguf" and not gpu_layers else slots), slots, len(found.vocabulary)
    if found.engine == "llama_cpp":
        context, copies, contexts, logits = -(-context // _CACHE_STEP) * _CACHE_STEP, 1, 1, 0
    cache = int(memory.cache_per_token * _CACHE_SHARES[cache_type]) * context * slots
    work = min(batch_size, 512) * (context * memory.heads + logits) * _SCORE_BYTES * contexts
    layers = min(gpu_layers, memory.blocks + 3)
    share = min(1.0, layers / memory.blocks)
    host = int(memory.weights * (1 - share)) * (1 if mmap else copies)
    gpu = int(memory.weights * share) * copies
    if layers > memory.blocks + 2:  # the library offloads the cache last
        gpu += cache + work
    else:
        host += cache + work
        gpu += work if layers else 0
    saved = min(cache, _MOST_SAVED) if memory_cache is None else memory_cache
    saved = saved if found.engine == "llama_cpp" or (found.format == "gguf" and not gpu_layers) else 0
    return Need(memory.weights, cache, work, host + saved, gpu, saved)
