"""Continuous batching: what goes into one forward of a backend that takes several sequences together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ixmodal.backends.base import Chunk, LoadParams
from ixmodal.backends.scripted import ScriptedBackend
from ixmodal.engine.messages import Delta, Failed, Finished, Started
from tests.engine.served import generate, served
from tests.support.gguf_files import load_params


class Batching(ScriptedBackend):
    """Takes all slots in one forward, and notes the sizes of their chunks."""

    def __init__(self, params: LoadParams) -> None:
        super().__init__(params)
        self.max_chunks = params.slots
        self.batches: list[dict[int, int]] = []

    def forward(self, chunks: Sequence[Chunk]) -> None:
        self.batches.append({chunk.slot: len(chunk.tokens) for chunk in chunks})
        super().forward(chunks)


@pytest.fixture
def batching() -> Batching:
    return Batching(load_params(Path("scripted"), slots=3))


def test_answers_arrive_together_and_whole(batching: Batching) -> None:
    with served(batching) as peer:
        peer.send(generate(1, "say:first|"), generate(2, "say:the second|"), generate(3, "say:3|"))
        frames = [peer.next()]
        while sum(isinstance(frame, Finished) for frame in frames) < 3:
            frames.append(peer.next())
    texts = {id: "".join(f.text for f in frames if isinstance(f, Delta | Finished) and f.id == id) for id in (1, 2, 3)}
    assert texts == {1: "first", 2: "the second", 3: "3"}
    assert any(len(batch) == 3 for batch in batching.batches)


def test_a_long_prompt_is_read_beside_what_decodes(batching: Batching) -> None:
    with served(batching, batch_size=16) as peer:
        peer.send(generate(1, "!forever say:ab|", max_tokens=200))
        peer.until(lambda frame: isinstance(frame, Delta))
        peer.send(generate(2, "x" * 100 + "\nsay:ok|"))
        peer.until(lambda frame: isinstance(frame, Finished) and frame.id == 2)
    shared = [batch for batch in batching.batches if len(batch) == 2]
    assert len(shared) >= 7
    assert all(min(batch.values()) == 1 for batch in shared)  # a token of the one with every chunk of the other
    assert max(sum(batch.values()) for batch in batching.batches) == 16
    assert max(max(batch.values()) for batch in shared) == 15


def test_prompts_share_a_batch_evenly(batching: Batching) -> None:
    prompts = [generate(id, f"{id}" * 60 + "\nsay:ok|") for id in (1, 2, 3)]
    with served(batching, batch_size=30) as peer:
        peer.send(*prompts)
        ended = 0
        while ended < 3:
            ended += isinstance(peer.next(), Finished)
    together = [batch for batch in batching.batches if len(batch) == 3 and sum(batch.values()) == 30]
    assert {0: 10, 1: 10, 2: 10} in together


def test_a_batch_smaller_than_the_slots_still_serves_all(batching: Batching) -> None:
    with served(batching, batch_size=1) as peer:
        peer.send(*(generate(id, "say:ok|") for id in (1, 2, 3)))
        ended = 0
        while ended < 3:
            ended += isinstance(peer.next(), Finished)
    assert max(sum(batch.values()) for batch in batching.batches) <= 3


def test_a_failed_batch_fails_its_sequences_and_their_slots_start_afresh(batching: Batching) -> None:
    with served(batching) as peer:
        peer.send(generate(1, "!fail say:x|"))
        assert isinstance(peer.until(lambda frame: isinstance(frame, Failed))[-1], Failed)
        text, _, started = peer.answer(generate(2, "say:fine|"))
    assert (text, started) == ("fine", Started(2, len("say:fine|") + 1, 0))
