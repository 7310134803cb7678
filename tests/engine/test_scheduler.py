from __future__ import annotations

import queue
from pathlib import Path

import pytest

from ixmodal.backends.ctransformers import CtransformersBackend
from ixmodal.engine.messages import (
    Cancel,
    Delta,
    Failed,
    Finished,
    Generate,
    Progress,
    Refused,
    Started,
)
from ixmodal.engine.request import (
    FinishReason,
    TokenPrompt,
)
from tests.engine.helpers import PATIENCE
from tests.engine.served import Recording, generate, served
from tests.support.gguf_files import load_params


@pytest.fixture
def recording() -> Recording:
    return Recording(load_params(Path("scripted"), slots=2))


def test_an_answer_in_frames(recording: Recording) -> None:
    with served(recording) as peer:
        peer.send(generate(7, "say:hé|"))
        frames = peer.until(lambda f: isinstance(f, Finished))
    assert frames[0] == Started(7, 9, 0)
    assert [f for f in frames[1:] if not isinstance(f, Progress)] == [
        Delta(7, "h", 1),
        Delta(7, "", 2),
        Delta(7, "é", 3),
        Finished(7, "", 4, FinishReason.STOP),
    ]


def test_a_long_answer_does_not_block_a_short_one(recording: Recording) -> None:
    with served(recording) as peer:
        peer.send(generate(1, "!forever say:abc|", max_tokens=500), generate(2, "say:xyz|"))
        frames = peer.until(lambda f: isinstance(f, Finished))
        assert frames[-1].id == 2
        kinds = [f.id for f in frames if isinstance(f, Delta)]
        assert kinds.count(2) == 3
        assert 1 in kinds
        assert kinds.count(1) < 10
        assert peer.until(lambda f: isinstance(f, Finished))[-1].completion_tokens == 500


def test_a_long_prompt_does_not_block_an_answer(recording: Recording) -> None:
    with served(recording, batch_size=8) as peer:
        peer.send(generate(1, "x" * 800 + "say:a|"), generate(2, "say:xyz|"))
        frames = peer.until(lambda f: isinstance(f, Finished))
        assert (frames[-1].id, frames[-1].reason) == (2, FinishReason.STOP)
        assert not any(isinstance(f, Delta) and f.id == 1 for f in frames)
        assert any(isinstance(f, Progress) for f in frames)
        peer.until(lambda f: isinstance(f, Finished))
    assert max(count for _, count, _ in recording.chunks) == 8


def test_signs_of_life_are_not_sent_for_each_of_many_short_steps(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ixmodal.engine.scheduler._SIGN_INTERVAL", 1000.0)
    with served(recording, batch_size=8) as peer:
        peer.send(generate(1, "x" * 800 + "say:a|"))
        frames = peer.until(lambda f: isinstance(f, Finished))
    assert sum(isinstance(f, Progress) for f in frames) == 1
    assert len(recording.chunks) > 100


def test_what_a_step_has_to_say_to_all_is_one_frame(recording: Recording) -> None:
    recording.max_chunks = 2
    with served(recording, batch_size=32) as peer:
        peer.send(generate(1, "say:abc|"), generate(2, "say:xyz|"))
        groups = [peer.next_group() for _ in range(5)]
    assert [[message.id for message in group] for group in groups] == [[1, 2]] * 5


def test_a_round_of_short_steps_is_one_frame_that_an_end_does_not_wait_for(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ixmodal.engine.scheduler._LONGEST_SILENCE", 1000.0)
    with served(recording, batch_size=32) as peer:
        peer.send(generate(1, "say:abcde|"), generate(2, "say:xy|"))
        assert [message.id for message in peer.next_group()] == [1, 2]  # both are accepted
        groups = [peer.next_group() for _ in range(4)]
    told = [[(type(message), message.id) for message in group] for group in groups]
    assert told[:3] == [[(Delta, 1), (Delta, 2)]] * 2 + [[(Delta, 1), (Finished, 2)]]
    assert told[3] == [(Delta, 1)]


def test_what_short_steps_say_is_not_held_back_for_long(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ixmodal.engine.scheduler._LONGEST_SILENCE", -1.0)
    with served(recording, batch_size=32) as peer:
        peer.send(generate(1, "say:abc|"), generate(2, "say:xyz|"))
        peer.next_group()
        assert [[message.id for message in peer.next_group()] for _ in range(4)] == [[1], [2], [1], [2]]


def test_a_prompt_is_evaluated_in_chunks_one_after_the_other(recording: Recording) -> None:
    with served(recording, batch_size=16) as peer:
        peer.answer(generate(1, TokenPrompt([70] * 39 + [127]), max_tokens=1))
    assert recording.chunks == [(0, 16, 0), (0, 16, 16), (0, 8, 32)]


def test_a_kept_prefix_is_not_evaluated_again(recording: Recording) -> None:
    with served(recording) as peer:
        first = peer.answer(generate(1, "hello say:ab|"))
        recording.chunks.clear()
        again = peer.answer(generate(2, "hello say:ab|"))
        assert (first[0], again[0]) == ("ab", "ab")
        assert (first[2].cached_tokens, again[2].cached_tokens) == (0, 13)
        assert recording.chunks[0] == (0, 1, 13)
        assert peer.answer(generate(3, "hello say:ab|ab say:no|"))[2].cached_tokens == 14 + 2


def test_a_cancelled_generation_says_nothing_more_and_frees_its_slot(recording: Recording) -> None:
    with served(recording) as peer:
        peer.send(generate(1, "!forever say:a|"), generate(2, "!forever say:b|"))
        peer.until(lambda f: isinstance(f, Delta) and f.id == 2)
        peer.send(Cancel(1), generate(3, "say:c|"))
        peer.until(lambda f: f == Started(3, 7, 1))
        rest = peer.until(lambda f: isinstance(f, Finished))
        assert rest[-1].id == 3
        assert all(getattr(f, "id", 0) != 1 for f in rest)


def test_cancelling_between_the_chunks_of_a_prompt(recording: Recording) -> None:
    recording.gate = queue.Queue()
    with served(recording, batch_size=4) as peer:
        peer.send(generate(1, "x" * 400 + "|"))
        assert recording.waiting.wait(PATIENCE)
        peer.send(Cancel(1), generate(2, "say:a|"))
        for _ in range(20):
            recording.gate.put(None)
        frames = peer.until(lambda f: isinstance(f, Finished))
        assert frames[-1].id == 2
    assert max(past + count for _, count, past in recording.chunks) <= 16  # of 402 tokens


def test_cancelling_what_is_unknown_or_over_is_harmless(recording: Recording) -> None:
    with served(recording) as peer:
        peer.send(Cancel(99))
        peer.answer(generate(1, "say:a|"))
        peer.send(Cancel(1))
        assert peer.answer(generate(2, "say:b|"))[0] == "b"


def test_more_than_the_slots_hold_is_an_error_of_the_server(recording: Recording) -> None:
    with served(recording) as peer:
        peer.send(*(generate(id, "!forever say:a|") for id in (1, 2, 3)))
        assert peer.until(lambda f: isinstance(f, Failed))[-1].id == 3


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        (generate(1, TokenPrompt([999])), None, "prompt"),
        (generate(1, TokenPrompt([1] * 5000)), "context_length_exceeded", "prompt"),
        (generate(1, "a|", logit_bias={261: 1.0}), None, "logit_bias"),
        (generate(1, "a|", stop_token_ids=(-1,)), None, "stop_token_ids"),
    ],
)
def test_refusals_name_the_field_and_take_no_slot(
    recording: Recording, message: Generate, code: str | None, param: str
) -> None:
    with served(recording) as peer:
        for _ in range(3):
            peer.send(message)
            refused = peer.next()
            assert isinstance(refused, Refused)
            assert (refused.id, refused.code, refused.param) == (1, code, param)
        assert peer.answer(generate(2, "say:ok|"))[0] == "ok"
    assert all(slot == 0 for slot, _, _ in recording.chunks)


@pytest.mark.parametrize("order", ["!fail", "!nan"])
def test_a_failure_ends_one_generation_and_nothing_else(recording: Recording, order: str) -> None:
    with served(recording) as peer:
        peer.send(generate(1, f"{order} say:a|"), generate(2, "say:well|"))
        frames = peer.until(lambda f: isinstance(f, Finished))
        assert [f.id for f in frames if isinstance(f, Failed)] == [1]
        assert "".join(f.text for f in frames if isinstance(f, Delta) and f.id == 2) == "well"
        assert peer.answer(generate(3, f"{order[1:]} say:b|"))[2].cached_tokens <= 1  # what failed is not reused


def test_zero_tokens_are_counted_and_nothing_is_evaluated(recording: Recording) -> None:
    with served(recording) as peer:
        text, finished, started = peer.answer(generate(1, "say:a|", max_tokens=0))
    assert (text, finished.reason, finished.completion_tokens, started.prompt_tokens) == ("", FinishReason.LENGTH, 0, 7)
    assert recording.chunks == []


def test_the_last_token_of_the_context_is_used() -> None:
    backend = Recording(load_params(Path("scripted"), context_length=20))
    with served(backend) as peer:
        text, finished, _ = peer.answer(generate(1, "!forever say:a|"))
    assert (text, finished.reason) == ("aaaa", FinishReason.LENGTH)
    assert max(past + count for _, count, past in backend.chunks) <= 20


@pytest.mark.parametrize("slots", [1, 2])
def test_reuse_changes_no_greedy_answer_of_a_real_model(tiny_model: Path, slots: int) -> None:
    prompts = [
        "the word was with you",
        "the word was with them",
        "the word was",
        "and 你好 😀",
        "the word was with you",
    ]

    def answers(asked: list[str]) -> list[tuple[str, int]]:
        found = []
        with served(CtransformersBackend(load_params(tiny_model, slots=slots))) as peer:
            for id, prompt in enumerate(asked):
                text, _, started = peer.answer(generate(id, prompt, max_tokens=24, ignore_eos=True))
                found.append((text, started.cached_tokens))
        return found

    reused, fresh = answers(prompts), [answers([prompt])[0] for prompt in prompts]
    assert [text for text, _ in reused] == [text for text, _ in fresh]
    assert all(text for text, _ in reused)
    assert [cached for _, cached in fresh] == [0] * 5
    assert sum(cached for _, cached in reused) >= 10
