"""Requests that come at the same moment with the same beginning: one reads it, the others wait and copy."""

from __future__ import annotations

import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ixmodal.engine.messages import Cancel, Delta, Embed, Embedded, Failed, Finished, Started
from ixmodal.engine.request import Pooling, TextPrompt
from tests.engine.helpers import PATIENCE
from tests.engine.served import Peer, Recording, generate, served
from tests.support.gguf_files import load_params

SLOTS = 8
SYSTEM = "You are a helpful assistant. " * 10


@pytest.fixture
def recording() -> Recording:
    return Recording(load_params(Path("scripted"), slots=SLOTS))


def until_all_ended(peer: Peer, count: int) -> list[Any]:
    frames: list[Any] = []
    while sum(isinstance(frame, Finished | Failed | Embedded) for frame in frames) < count:
        frames.append(peer.next())
    return frames


def texts_of(frames: list[Any]) -> dict[int, str]:
    found: dict[int, str] = {}
    for frame in frames:
        if isinstance(frame, Delta | Finished):
            found[frame.id] = found.get(frame.id, "") + frame.text
    return found


def evaluated(recording: Recording) -> int:
    return sum(count for _, count, _ in recording.chunks)


def test_a_system_prompt_is_read_once_by_eight_at_the_same_moment(recording: Recording) -> None:
    with served(recording) as peer:
        peer.send(*(generate(id, f"{SYSTEM}\nsay:number {id}|") for id in range(SLOTS)))
        frames = until_all_ended(peer, SLOTS)
    assert texts_of(frames) == {id: f"number {id}" for id in range(SLOTS)}
    cached = sorted(frame.cached_tokens for frame in frames if isinstance(frame, Started))
    assert cached[0] == 0
    assert min(cached[1:]) >= len(SYSTEM)
    assert evaluated(recording) < len(SYSTEM) + SLOTS * 40


def test_choices_of_one_prompt_read_it_once(recording: Recording) -> None:
    prompt = f"{SYSTEM}\nsay:the same|"
    with served(recording) as peer:
        peer.send(*(generate(id, prompt) for id in range(SLOTS)))
        frames = until_all_ended(peer, SLOTS)
    assert set(texts_of(frames).values()) == {"the same"}
    lengths = {frame.prompt_tokens for frame in frames if isinstance(frame, Started)}
    cached = sorted(frame.cached_tokens for frame in frames if isinstance(frame, Started))
    assert lengths == {len(prompt) + 1}
    assert cached == [0] + [len(prompt)] * (SLOTS - 1)  # all but the last token


def test_a_request_that_shares_nothing_does_not_wait(recording: Recording) -> None:
    with served(recording, batch_size=8) as peer:
        peer.send(generate(1, f"{SYSTEM * 3}say:a|"), generate(2, f"{SYSTEM * 3}say:b|"), generate(3, "say:short|"))
        frames = peer.until(lambda frame: isinstance(frame, Finished))
    assert frames[-1].id == 3


def gated(recording: Recording, steps: int) -> Callable[[], None]:
    recording.gate = gate = queue.Queue()
    for _ in range(steps):
        gate.put(None)

    def open_wide() -> None:
        for _ in range(2000):
            gate.put(None)

    return open_wide


def test_when_the_one_that_reads_is_cancelled_the_next_goes_on(recording: Recording) -> None:
    open_wide = gated(recording, 3)
    with served(recording, batch_size=16) as peer:
        peer.send(*(generate(id, f"{SYSTEM}\nsay:number {id}|") for id in (1, 2, 3)))
        assert recording.waiting.wait(PATIENCE)
        peer.send(Cancel(1))
        open_wide()
        frames = until_all_ended(peer, 2)
    assert texts_of(frames) == {2: "number 2", 3: "number 3"}
    cached = {frame.id: frame.cached_tokens for frame in frames if isinstance(frame, Started)}
    assert 0 < cached[2] < len(SYSTEM)
    assert cached[3] >= len(SYSTEM)
    assert evaluated(recording) < len(SYSTEM) + 150


def test_one_that_waits_can_be_cancelled(recording: Recording) -> None:
    open_wide = gated(recording, 2)
    with served(recording) as peer:
        peer.send(*(generate(id, f"{SYSTEM}\nsay:number {id}|") for id in (1, 2, 3)))
        assert recording.waiting.wait(PATIENCE)
        peer.send(Cancel(2))
        open_wide()
        frames = until_all_ended(peer, 2)
        again = peer.answer(generate(4, "say:well|"))
    assert texts_of(frames) == {1: "number 1", 3: "number 3"}
    assert again[0] == "well"


def test_when_the_one_that_reads_fails_the_others_read_for_themselves(recording: Recording) -> None:
    with served(recording) as peer:
        peer.send(generate(1, f"{SYSTEM}\n!fail say:x|"), *(generate(id, f"{SYSTEM}\nsay:ok {id}|") for id in (2, 3)))
        frames = until_all_ended(peer, 3)
    assert [frame.id for frame in frames if isinstance(frame, Failed)] == [1]
    assert texts_of(frames) == {2: "ok 2", 3: "ok 3"}


def test_slots_are_kept_for_those_that_wait(recording: Recording) -> None:
    open_wide = gated(recording, 1)
    with served(recording) as peer:
        peer.send(*(generate(id, f"{SYSTEM}\nsay:number {id}|") for id in range(SLOTS)))
        assert recording.waiting.wait(PATIENCE)
        peer.send(generate(99, "say:too many|"))
        open_wide()
        frames = until_all_ended(peer, SLOTS + 1)
    assert [frame.id for frame in frames if isinstance(frame, Failed)] == [99]
    assert texts_of(frames) == {id: f"number {id}" for id in range(SLOTS)}


def test_nobody_waits_for_prompts_that_are_read_token_by_token(recording: Recording) -> None:
    with served(recording) as peer:
        peer.send(Embed(1, TextPrompt(SYSTEM), Pooling.MEAN), generate(2, f"{SYSTEM}say:b|", max_tokens=1))
        frames = until_all_ended(peer, 2)
    started = next(frame for frame in frames if isinstance(frame, Started))
    assert started.cached_tokens < len(SYSTEM)
