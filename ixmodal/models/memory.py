"""What a model takes once it is loaded, by its header: the one estimate that the server and `ixmodal check` share."""

from __future__ import annotations

from dataclasses import dataclass

from ixmodal.models.inspect import ModelFile

_SCORE_BYTES = 4
"""Of a score, in the library's work space: one for each token of a batch, of the context, and each head."""


@dataclass(frozen=True)
class Need:
    """Bytes that a loaded model takes in the machine's memory and, where layers are offloaded, in the GPU's."""

    weights: int
    cache: int
    work: int
    host: int
    gpu: int


def need_of(
    found: ModelFile, *, slots: int, context_length: int | None, batch_size: int, gpu_layers: int, mmap: bool
) -> Need:
    """What a model takes. `gpu_layers` beyond what there are means all.

    Every slot has a context of its own: keys and values of 16 bits for each token, and work space for the scores of
    one batch. A file that is mapped is in memory once; otherwise, and on a GPU, each slot has its own copy.
    """
    memory, context = found.memory, context_length or found.context_length
    cache = memory.cache_per_token * context * slots
    work = min(batch_size, 512) * context * memory.heads * _SCORE_BYTES * slots
    layers = min(gpu_layers, memory.blocks + 3)
    share = min(1.0, layers / memory.blocks)
    host = int(memory.weights * (1 - share)) * (1 if mmap else slots)
    gpu = int(memory.weights * share) * slots
    if layers > memory.blocks + 2:  # the library offloads the cache last
        gpu += cache + work
    else:
        host += cache + work
        gpu += work if layers else 0
    return Need(memory.weights, cache, work, host, gpu)
