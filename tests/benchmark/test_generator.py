from __future__ import annotations

import random
from collections import Counter

import pytest

from ixmodal.benchmark.generator import check, run
from ixmodal.benchmark.load import Load
from ixmodal.benchmark.summary import summarise
from ixmodal.errors import SpecError
from tests.benchmark.odd_server import OddServer
from tests.support.server import Server, free_port


def load(server: Server, **fields: object) -> Load:
    return Load(**{"base_url": f"{server.url}/v1", "model": "demo", "timeout": 30, **fields})  # type: ignore[arg-type]  # as a test likes


def test_every_token_asked_for_is_counted(demo: Server) -> None:
    found = run(load(demo, streams=3, conversations=6, max_tokens=12, prompt_words=5, body={"ignore_eos": True}))
    assert [answer.outcome for answer in found.answers] == ["complete"] * 6
    assert {answer.completion_tokens for answer in found.answers} == {12}
    assert {answer.finish_reason for answer in found.answers} == {"length"}
    for answer in found.answers:
        assert 0 < answer.deltas[0] <= answer.deltas[-1] <= answer.ended < found.seconds + 0.001
        assert answer.deltas == sorted(answer.deltas)
    assert found.processor_seconds < found.seconds


def test_text_completions_are_streamed_too(demo: Server) -> None:
    [answer] = run(load(demo, conversations=1, chat=False, max_tokens=3, body={"ignore_eos": True})).answers
    assert (answer.outcome, answer.completion_tokens) == ("complete", 3)


def test_a_closed_loop_holds_its_number_of_streams(scripted: Server) -> None:
    body = {"messages": [{"role": "user", "content": "say:abcdefgh !slow=0.01"}]}
    answers = run(load(scripted, streams=2, conversations=5, body=body)).answers
    spans = [(answer.due, answer.due + answer.ended) for answer in answers]
    at_once = [sum(begin <= at < end for begin, end in spans) for at, _ in spans]
    assert max(at_once) == 2
    assert len(answers) == 5


def test_an_open_loop_waits_for_nobody(scripted: Server) -> None:
    body = {"messages": [{"role": "user", "content": "say:abcdefghijklmnop !slow=0.01"}]}
    answers = run(load(scripted, rate=50, conversations=8, seed=3, body=body)).answers
    dice = random.Random(3)
    due = [0.0]
    for _ in range(7):
        due.append(due[-1] + dice.expovariate(50))
    assert sorted(answer.due for answer in answers) == pytest.approx(due)
    assert {answer.outcome for answer in answers} == {"complete"}
    assert due[-1] < 0.4 < max(answer.due + answer.ended for answer in answers)  # two slots, 8 answers of 0.16 s
    assert all(answer.late >= -0.001 for answer in answers)


def test_a_chat_takes_its_answers_along(demo: Server) -> None:
    answers = run(load(demo, conversations=1, turns=3, prompt_words=4, max_tokens=6)).answers
    assert [answer.turn for answer in answers] == [0, 1, 2]
    sizes = [answer.prompt_tokens or 0 for answer in answers]
    assert sizes == sorted(set(sizes))
    assert (answers[2].cached_tokens or 0) > sizes[0]


def test_a_system_prompt_is_shared_and_nothing_else(scripted: Server) -> None:
    # A token a byte, and the scripted engine's cache: what is shared is seen in the counts.
    common = {"conversations": 3, "prompt_words": 20, "max_tokens": 1, "seed": 12}
    own = run(load(scripted, **common)).answers
    shared = run(load(scripted, system_words=60, **common)).answers
    assert all((answer.cached_tokens or 0) < 40 for answer in own)
    assert all((answer.cached_tokens or 0) > 200 for answer in shared[1:])


def test_every_so_manieth_conversation_is_long(scripted: Server) -> None:
    answers = run(load(scripted, conversations=4, prompt_words=4, long_words=60, long_every=2, max_tokens=1)).answers
    assert [answer.is_long for answer in answers] == [False, True, False, True]
    assert all(((answer.prompt_tokens or 0) > 150) == answer.is_long for answer in answers)


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        ("refuse", "status 429"),
        ("cut", "cut off"),
        ("cut chunk", "cut off"),
        ("no finish", "cut off"),
        ("error event", "error event"),
        ("noise", "no HTTP"),
        ("odd", "odd event"),
        ("hang", "timed out"),
    ],
)
def test_what_fails_is_counted_as_that(behaviour: str, outcome: str) -> None:
    with OddServer(behaviour) as url:
        found = run(Load(base_url=url, model="any", conversations=3, streams=2, timeout=0.3))
    assert Counter(answer.outcome for answer in found.answers) == {outcome: 3}
    summary = summarise(found)
    assert (summary.complete, summary.tokens, summary.outcomes) == (0, 0, {outcome: 3})


def test_a_refusal_is_quoted() -> None:
    with OddServer("refuse") as url:
        assert "slow down" in summarise(run(Load(base_url=url, model="any", conversations=1))).detail


def test_without_usage_deltas_are_counted() -> None:
    with OddServer("plain") as url:
        summary = summarise(run(Load(base_url=url, model="any", conversations=4)))
    assert (summary.complete, summary.tokens, summary.counted_by) == (4, 12, "deltas")


def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    with OddServer("closes after") as url:
        summary = summarise(run(Load(base_url=url, model="any", conversations=3)))
    assert summary.outcomes == {"complete": 3}


def test_no_server_at_all() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    summary = summarise(run(Load(base_url=url, model="any", conversations=2, turns=3)))
    assert summary.outcomes == {"no connection": 2}  # the further turns would be about nothing


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"base_url": "localhost:8000"}, "base_url: localhost:8000 is no URL"),
        ({"streams": 0}, "streams: 0 is too small"),
        ({"rate": 0.0}, "rate: 0 is no rate"),
        ({"chat": False, "turns": 2}, "only chats have further turns"),
    ],
)
def test_a_load_without_sense_is_refused(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        check(Load(**{"base_url": "http://127.0.0.1:1/v1", "model": "m", **fields}))  # type: ignore[arg-type]  # as a test likes
