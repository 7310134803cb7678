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
"""Logits or hidden states: float32, one vector or one for each token, writable, valid until the next forward."""
State: TypeAlias = bytes | memoryview
"""Keys and values of a slot, as its library serialises them: of use to the same model, loaded the same way, alone."""


@dataclass(frozen=True)
class LoadParams:
    """How a model is loaded. `gpu_layers` of 1000 or more means all; `threads` counts CPU threads.

    `flash_attention` None leaves it to the backend; it and `cache_type` are heeded by llama.cpp alone.
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

    `embeds` asks for the last one's hidden state besides its logits, `scores` for those of each token. Both are asked
    for only of a backend that offers them.
    """

    slot: int
    tokens: Sequence[int]
    past: int
    embeds: bool = False
    scores: bool = False


class Backend(Protocol):
    """A loaded model. Not thread-safe: one thread makes all calls."""

    vocabulary: Vocabulary
    chat_template: str | None
    context_length: int
    slots: int
    max_chunks: int
    """Chunks that one `forward` evaluates together; 1 where the library knows no batches of sequences."""
    can_copy: bool
    """Whether `copy`, `save` and `restore` are offered: a slot's keys and values can be had."""
    can_score: bool
    """Whether one forward gives the logits after each of a chunk's tokens."""
    can_pool: bool
    """Whether one forward gives the hidden states of all of a chunk's tokens."""

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

    def copy(self, source: int, target: int, count: int) -> None:
        """Let slot `target` hold the first `count` tokens of `source`, and nothing else. `source` stays as it is.

        Raises `EngineError` where that fails; `target` then holds nothing.
        """

    def save(self, slot: int, count: int) -> State:
        """The keys and values of a slot's first `count` tokens, a copy. What the slot holds beyond may be lost.

        Raises `EngineError` where the slot holds fewer, or the library fails.
        """

    def restore(self, slot: int, state: State) -> None:
        """Let a slot hold what was saved, of whichever slot it was, and nothing else.

        Native code reads these bytes: they must be what `save` gave, to the bit.

        Raises `EngineError` where the library refuses them; the slot then holds nothing.
        """

    def scores(self, slot: int) -> Logits:
        """Logits, shape (tokens, vocabulary), after each token of a chunk that `scores`."""

    def embeddings(self, slot: int) -> Logits:
        """Hidden states, shape (tokens, width), of each token of a chunk that `embeds` and `scores`."""

    def close(self) -> None:
        """Free the native memory."""
