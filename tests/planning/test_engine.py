"""The simulated engine against the real scheduler: the same arrivals, a clock that forwards advance, the same times."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import cast

import numpy as np
import pytest

from ixmodal.backends.base import Chunk, LoadParams, Logits
from ixmodal.backends.scripted import ScriptedBackend
from ixmodal.engine.channel import Channel
from ixmodal.engine.messages import Delta, Finished, FromWorker, Generate, Load, Started, ToWorker
from ixmodal.engine.request import GenerationRequest, SamplingParams, TokenPrompt
from ixmodal.engine.scheduler import Scheduler
from ixmodal.planning.simulation import Deployment, simulate
from ixmodal.planning.speeds import Speeds
from ixmodal.planning.traffic import Arrival, Lengths, draw_arrivals
from tests.support.gguf_files import load_params

SLOTS, BATCH = 4, 16
DEPLOYMENT = Deployment(
    slots=SLOTS,
    batch_size=BATCH,
    max_concurrency=1_000_000,
    target_concurrency=SLOTS,
    min_replicas=1,
    max_replicas=1,
    buffer_replicas=0,
    scaledown_window=0,
    queue_timeout=math.inf,
    cold_start=0,
    waits_outside=False,
)
IN_TURN = Speeds(
    prefill_tokens_per_second=125,
    prefill_forward_seconds=0.003,
    decode_step_seconds=(0.010, 0.022, 0.031, 0.044),
    batches=False,
)
BATCHED = Speeds(
    prefill_tokens_per_second=500,
    prefill_forward_seconds=0.004,
    decode_step_seconds=(0.010, 0.014, 0.019, 0.021),
    mixed_prefill_tokens_per_second=410,
    batches=True,
)


BAR = 3 + ord("|")
"""The token that ends each prompt here, and is nowhere else."""


class TimedBackend(ScriptedBackend):
    """Each forward advances a clock by what such a forward takes."""

    def __init__(self, params: LoadParams, speeds: Speeds) -> None:
        super().__init__(params)
        self.max_chunks = params.slots if speeds.is_batching else 1
        self._speeds = speeds
        self._read: set[int] = set()
        self.now = 0.0
        self.forwards = 0
        self.decoding = 0

    def forward(self, chunks: Sequence[Chunk]) -> None:
        self.forwards += 1
        self._read -= {chunk.slot for chunk in chunks if not chunk.past}
        prompt_tokens = sum(len(chunk.tokens) for chunk in chunks if chunk.slot not in self._read)
        decoding = sum(chunk.slot in self._read for chunk in chunks)
        if self.max_chunks == 1 and decoding:
            self.now += self._speeds.decode_step(self.decoding) / self.decoding
        else:
            self.now += self._speeds.forward(decoding, prompt_tokens)
        self._read |= {chunk.slot for chunk in chunks if chunk.tokens[-1] == BAR}

    def logits(self, slot: int) -> Logits:
        vector = np.zeros(len(self.vocabulary), dtype=np.float32)
        vector[3 + ord("a")] = 20
        return vector


class TimedChannel:
    """The server's end: delivers each request at its time, when a slot is free, and notes when answers come."""

    def __init__(self, backend: TimedBackend, arrivals: Sequence[Arrival]) -> None:
        self._backend = backend
        self._waiting = deque(enumerate(arrivals))
        self._free = [0.0] * SLOTS
        """When each free slot became free."""
        self.first: dict[int, float] = {}
        self.finished: dict[int, float] = {}

    def receive(self, *, wait: bool) -> list[ToWorker] | None:
        if not self._waiting and wait:
            return None
        now = self._backend.now
        messages: list[ToWorker] = []
        # What is sent in the very moment in which a forward ends is not there yet when the next one begins.
        while self._waiting and self._free and (there := max(self._waiting[0][1].at, min(self._free))) < now:
            messages.append(self._deliver(there))
        if wait and not messages:
            self._backend.now = there = max(self._waiting[0][1].at, min(self._free))
            messages.append(self._deliver(there))
        return messages

    def _deliver(self, there: float) -> Generate:
        assert there <= self._backend.now
        id, arrival = self._waiting.popleft()
        self._free.remove(min(self._free))
        # No two in the slots begin alike, so nothing is in the cache.
        prompt = [3 + id % 100, *Random(id).choices(range(130, 250), k=arrival.prompt_tokens)][: arrival.prompt_tokens]
        prompt[-1] = BAR
        sampling = SamplingParams(max_tokens=arrival.completion_tokens, ignore_eos=True, temperature=0)
        return Generate(id, GenerationRequest(TokenPrompt(prompt), sampling))

    @property
    def has_news(self) -> bool:
        return True

    def flush(self) -> None:
        pass

    def put(self, message: FromWorker) -> None:
        now = self._backend.now
        if isinstance(message, Started):
            assert not message.cached_tokens
        elif isinstance(message, Delta | Finished):
            if message.id not in self.first:
                self.first[message.id] = now
                self._backend.decoding += 1
            if isinstance(message, Finished):
                self.finished[message.id] = now
                self._backend.decoding -= 1
                self._free.append(now)


def play(arrivals: Sequence[Arrival], speeds: Speeds) -> tuple[TimedChannel, TimedBackend]:
    """Run the real scheduler until all are answered."""
    backend = TimedBackend(load_params(Path("scripted"), slots=SLOTS, batch_size=BATCH), speeds)
    channel = TimedChannel(backend, arrivals)
    load = Load(backend="", path="", slots=SLOTS, batch_size=BATCH, threads=1)
    Scheduler(cast("Channel", channel), backend, load).run()
    return channel, backend


@pytest.mark.parametrize("speeds", [IN_TURN, BATCHED], ids=["in turn", "batched"])
@pytest.mark.parametrize("rate", [0.5, 2.0, 5.0, 12.0])
def test_each_token_comes_when_the_scheduler_brings_it(speeds: Speeds, rate: float) -> None:
    arrivals = draw_arrivals(rate, 300 / rate, Lengths(24, 1), Lengths(12, 1), seed=round(rate))
    channel, backend = play(arrivals, speeds)
    outcome = simulate(arrivals, DEPLOYMENT, speeds)
    count = range(len(arrivals))
    assert [job.first_token for job in outcome.jobs] == pytest.approx([channel.first[id] for id in count], abs=1e-6)
    assert [job.finished for job in outcome.jobs] == pytest.approx([channel.finished[id] for id in count], abs=1e-6)
    assert outcome.end == pytest.approx(backend.now)
    assert backend.forwards > len(arrivals) * 2
