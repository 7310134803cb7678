"""Prompts whose every token is read: log-probabilities of an echo, the mean of all hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ixmodal.backends.base import Chunk, LoadParams, Logits
from ixmodal.backends.scripted import ScriptedBackend
from ixmodal.engine import scheduler
from ixmodal.engine.messages import Embed, Embedded, Finished, PromptRead
from ixmodal.engine.request import Pooling, TextPrompt, TokenLogprob
from tests.engine.served import generate, served
from tests.support.gguf_files import load_params


class Varied(ScriptedBackend):
    """Its logits and hidden states tell positions and tokens apart; it notes its chunks."""

    def __init__(self, params: LoadParams) -> None:
        super().__init__(params)
        self.chunks: list[Chunk] = []

    def forward(self, chunks: Sequence[Chunk]) -> None:
        self.chunks += chunks
        super().forward(chunks)

    def _logits(self, held: list[int]) -> Logits:
        noise = np.random.default_rng(held).normal(size=len(self.vocabulary))
        return noise.astype(np.float32)


class OneByOne(Varied):
    """A library that shows no more than the last token's."""

    can_score = can_pool = False

    def scores(self, slot: int) -> Logits:
        raise AssertionError(slot)

    embeddings = scores


def loaded(kind: type[Varied]) -> Varied:
    return kind(load_params(Path("scripted"), slots=2))


def echoed(backend: Varied, **params: Any) -> tuple[TokenLogprob, ...]:
    with served(backend, batch_size=16) as peer:
        peer.send(generate(1, "the quick brown fox jumps over the lazy dog|", prompt_logprobs=True, **params))
        frames = peer.until(lambda frame: isinstance(frame, Finished))
    (read,) = [frame for frame in frames if isinstance(frame, PromptRead)]
    return read.logprobs


def pooled(backend: Varied) -> list[float]:
    with served(backend, batch_size=16) as peer:
        peer.send(Embed(1, TextPrompt("the quick brown fox jumps over the lazy dog"), Pooling.MEAN))
        (found,) = [f for f in peer.until(lambda frame: isinstance(frame, Embedded)) if isinstance(f, Embedded)]
    return np.frombuffer(found.vector, "<f4").tolist()


@pytest.mark.parametrize("params", [{"max_tokens": 0, "logprobs": 3}, {"max_tokens": 2, "logprobs": 0}], ids=str)
def test_a_prompt_scored_in_chunks_tells_what_one_scored_by_tokens_tells(params: dict[str, Any]) -> None:
    chunked, single = loaded(Varied), loaded(OneByOne)
    found, expected = echoed(chunked, **params), echoed(single, **params)
    assert found == expected
    assert len(found) == len("the quick brown fox jumps over the lazy dog|") + 1
    read = [len(chunk.tokens) for chunk in chunked.chunks]
    assert read[:3] == [16, 16, 13]
    assert [len(chunk.tokens) for chunk in single.chunks[:45]] == [1] * 45
    assert not any(chunk.scores for chunk in single.chunks)


def test_only_an_echo_asks_for_all_scores() -> None:
    backend = loaded(Varied)
    with served(backend, batch_size=16) as peer:
        peer.answer(generate(1, "the quick brown fox jumps|", max_tokens=3))
    assert not any(chunk.scores for chunk in backend.chunks)


def test_the_memory_of_scores_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = loaded(Varied)
    monkeypatch.setattr(scheduler, "_SCORE_BYTES", 4 * len(backend.vocabulary) * backend.slots * 5)
    expected = echoed(loaded(OneByOne), max_tokens=0)
    assert echoed(backend, max_tokens=0) == expected
    assert max(len(chunk.tokens) for chunk in backend.chunks) == 5


def test_the_mean_of_hidden_states_is_the_same_in_chunks_and_by_tokens() -> None:
    chunked, single = loaded(Varied), loaded(OneByOne)
    assert pooled(chunked) == pytest.approx(pooled(single))
    assert [len(chunk.tokens) for chunk in chunked.chunks] == [16, 16, 12]
    assert {len(chunk.tokens) for chunk in single.chunks} == {1}
