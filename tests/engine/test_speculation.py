"""Drafts from what was said: the answer is the one without them, in fewer forwards."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from ixmodal.backends.base import Backend, Chunk
from ixmodal.backends.ctransformers import CtransformersBackend
from ixmodal.engine.channel import Channel
from ixmodal.engine.messages import Delta, Finished, Generate, Load, Started
from ixmodal.engine.request import GenerationRequest, SamplingParams, TokenPrompt
from ixmodal.engine.scheduler import Scheduler
from ixmodal.engine.speculation import PromptLookup
from ixmodal.errors import EngineError
from tests.engine.served import generate, served
from tests.engine.test_scoring import OneByOne, Varied
from tests.support.gguf_files import load_params

PHRASE = "the small boat is on the blue sea and the small dog is in the green house"
DEMO = Path(__file__).parents[2] / "ixmodal/models/demo/demo.gguf"


SCRIPTED = load_params(Path("scripted"), slots=2)


class Scripted(Varied):
    """The script's own logits, its chunks noted."""

    _logits = Varied.__base__._logits  # type: ignore[union-attr]  # what `Varied` overrides


def answer(backend: Backend, message: Generate, draft_tokens: int) -> tuple[str, int, Any, list[Any]]:
    """Text, tokens, why it ended, log-probabilities: however they came in frames."""
    with served(backend, draft_tokens=draft_tokens) as peer:
        peer.send(message)
        frames = peer.until(lambda frame: isinstance(frame, Finished))
    told = [frame for frame in frames if isinstance(frame, Delta | Finished)]
    text = "".join(frame.text for frame in told)
    logprobs = [entry for frame in told for entry in frame.logprobs]
    assert isinstance(told[-1], Finished)
    return text, told[-1].completion_tokens, told[-1].reason, logprobs


def test_a_lookup_finds_what_followed_the_last_tokens_the_last_time() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 6, 2, 3, 9, 1, 2, 3], 3)
    assert lookup.draft(8) == [4, 5, 6]  # after 1 2 3, not what follows 2 3 later
    assert lookup.draft(2) == [4, 5]
    lookup.extend([7, 2, 3])
    assert lookup.draft(8) == [7, 2, 3]  # 7 2 3 was never followed; after 2 3 the last time came 7
    lookup.extend([50])
    assert lookup.draft(8) == []


def test_a_lookup_waits_longer_and_longer_while_it_is_wrong() -> None:
    lookup, pauses = PromptLookup([1, 2, 3] * 5, 3), list[int]()
    for _ in range(3):
        while lookup.draft(3):
            lookup.judge(3, 0)
        pauses.append(0)
        while not lookup.draft(3):
            lookup.extend([[1, 2, 3][(pauses[-1]) % 3]])
            pauses[-1] += 1
            assert pauses[-1] < 100
    assert pauses[0] >= 16
    assert pauses[1] >= 2 * 16
    assert pauses[2] >= 4 * 16


REPEATING = "say:" + "the boat is on the sea and " * 6 + "|"


@pytest.mark.parametrize("sampling", [{}, {"logprobs": 2}, {"stop": ("sea and the boat is on",)}, {"max_tokens": 41}])
def test_a_draft_changes_the_forwards_and_not_the_answer(sampling: dict[str, Any]) -> None:
    drafted, plain = (Scripted(SCRIPTED) for _ in range(2))
    found = answer(drafted, generate(1, REPEATING, **sampling), 3)
    assert found == answer(plain, generate(1, REPEATING, **sampling), 0)
    assert found[1] > 20
    assert len(drafted.chunks) < len(plain.chunks) / 2
    assert any(chunk.scores and len(chunk.tokens) == 4 for chunk in drafted.chunks)


def test_a_wrong_draft_leaves_nothing_in_the_cache() -> None:
    backend = Scripted(load_params(Path("scripted"), slots=1))
    prompt = "abcX abcY abcX abcY say:abcZ abcZ abcX|"
    with served(backend, draft_tokens=3) as peer:
        peer.send(generate(1, prompt))
        peer.until(lambda frame: isinstance(frame, Finished))
        peer.send(generate(2, prompt + "abcZ abcZ abcX\nsay:again|"))
        started, *_ = [f for f in peer.until(lambda f: isinstance(f, Finished)) if isinstance(f, Started)]
    assert any(chunk.scores for chunk in backend.chunks)
    assert started.cached_tokens >= len(prompt) + 1 + len("abcZ abcZ abc")
    held = [chunk for chunk in backend.chunks if chunk.past >= len(prompt)]
    written: list[int] = []
    for chunk in held[: next(i for i, chunk in enumerate(held) if len(chunk.tokens) > 8)]:
        del written[chunk.past - len(prompt) - 1 :]
        written += chunk.tokens
    assert bytes(token - 3 for token in written).startswith(b"abcZ abcZ abc")


def test_beside_other_sequences_nothing_is_drafted() -> None:
    backend = Scripted(SCRIPTED)
    with served(backend, draft_tokens=3) as peer:
        peer.send(generate(1, "!forever say:ab|", max_tokens=60), generate(2, "!forever say:cd|", max_tokens=60))
        ended = 0
        while ended < 2:
            ended += isinstance(peer.next(), Finished)
    assert not any(chunk.scores for chunk in backend.chunks[:100])


def test_a_library_that_scores_no_drafts_is_not_asked_to() -> None:
    ours, theirs = socket.socketpair()
    load = Load(backend="", path="", slots=2, batch_size=16, threads=1, draft_tokens=3)
    with ours, theirs, pytest.raises(EngineError, match="leave `speculation` off"):
        Scheduler(Channel(theirs), OneByOne(SCRIPTED), load)


def test_what_a_grammar_constrains_is_not_drafted() -> None:
    from ixmodal.engine.request import Constraint

    backend = Scripted(load_params(Path("scripted"), slots=1))
    constraint = Constraint("regex", "(ab)+", "guided_regex")
    with served(backend, draft_tokens=3) as peer:
        peer.send(generate(1, "!forever say:ab|", max_tokens=40, constraint=constraint))
        peer.until(lambda frame: isinstance(frame, Finished))
    assert not any(chunk.scores for chunk in backend.chunks)


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0.0},
        {"temperature": 0.4, "seed": 3},
        {"temperature": 0.7, "seed": 4, "presence_penalty": 0.01},
    ],
    ids=str,
)
def test_a_real_model_says_the_same_with_drafts(sampling: dict[str, Any]) -> None:
    backend = CtransformersBackend(load_params(DEMO))
    counted: list[Chunk] = []
    evaluate = backend.forward
    backend.forward = lambda chunks: (counted.extend(chunks), evaluate(chunks))[1]  # type: ignore[method-assign,func-returns-value]  # counts
    start, end = (backend.vocabulary.control_ids[name] for name in ("<|im_start|>", "<|im_end|>"))
    tokens = [start, *backend.tokenize(f"user\nRepeat after me: {PHRASE}"), end, *backend.tokenize("\n"), start]
    prompt = TokenPrompt([*tokens, *backend.tokenize("assistant\n")])
    message = Generate(1, GenerationRequest(prompt, SamplingParams(max_tokens=80, logprobs=1, **sampling)))
    plain = answer(backend, message, 0)
    single = len(counted)
    counted.clear()
    assert answer(backend, message, 3) == plain
    assert PHRASE[:30] in plain[0]
    assert any(chunk.scores for chunk in counted)
    assert len(counted) < single
