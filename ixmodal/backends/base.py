"""The seam between the engine and a native library: one small protocol, one file a library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ixmodal.models.vocabulary import Vocabulary

if TYPE_CHECKING:  # the server's process needs no NumPy, and starts a tenth of a second sooner without
    import numpy as np
    from numpy.typing import NDArray

Logits: TypeAlias = "NDArray[np.float32]"
"""Logits or an embedding: one float32 vector, writable, valid until the next forward."""


@dataclass(frozen=True)
class LoadParams:
    """How a model is loaded. `gpu_layers` of 1000 or more means all; `threads` counts CPU threads.

    `flash_attention` None leaves it to the library; it and `cache_type` are heeded by llama.cpp alone.
    """

    path: str
    context_length: int | None
    slots: int
    batch_size: int
    threads: int
    gpu_layers: int
    mmap: bool
    mlock: bool
    flash_attention: bool | None = None
    cache_type: str = "f16"


@dataclass(frozen=True)
class Chunk:
    """Tokens to evaluate in one slot, after the `past` tokens that its cache already holds.

    `embeds` asks for the last one's hidden state besides its logits.
    """

    slot: int
    tokens: Sequence[int]
    past: int
    embeds: bool = False


class Backend(Protocol):
    """A loaded model. Not thread-safe: one thread makes all calls."""

    vocabulary: Vocabulary
    chat_template: str | None
    context_length: int
    slots: int
    max_chunks: int
    """Chunks that one `forward` evaluates together; 1 where the library knows no batches of sequences."""

    def tokenize(self, text: str) -> list[int]:
        """Token ids of plain text. Control tokens spelled in it stay text; no BOS is added."""

    def forward(self, chunks: Sequence[Chunk]) -> None:
        """Evaluate at most `max_chunks` chunks of different slots, of `batch_size` tokens in all.

        Raises `EngineError` where the library reports a failure.
        """

    def logits(self, slot: int) -> Logits:
        """Logits, shape (vocabulary,), after the last token evaluated in `slot`."""

    def embedding(self, slot: int) -> Logits:
        """Hidden state, shape (width,), of the last token of a chunk that `embeds`, before the output layer."""

    def close(self) -> None:
        """Free the native memory."""
