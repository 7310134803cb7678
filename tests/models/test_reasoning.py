from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixmodal.models.reasoning import Reasoning, ReasoningParser, ThoughtCounter, ends_inside, grammar_before, thinks
from ixmodal.models.tool_calls import Content

PROPERTY = settings(max_examples=200, deadline=None, database=None, derandomize=True)
FRAGMENTS = st.sampled_from(["a", " ", "\n", "<", "</", "</think", "<think>", "é", "think>", "x" * 300, "\n" * 300])
TEXTS = st.lists(FRAGMENTS, max_size=8).map("".join)
CUTS = st.lists(st.integers(0, 10_000), max_size=12)


def parse(pieces: Iterable[str], *, starts_inside: bool = False) -> tuple[str, str]:
    """The thought and the answer, which come in this order."""
    parser = ReasoningParser(starts_inside=starts_inside)
    events = [event for piece in pieces for event in parser.push(piece)] + parser.flush()
    kinds = [type(event) for event in events]
    assert kinds == sorted(kinds, key=[Reasoning, Content].index)
    assert all(event.text for event in events)
    texts = {kind: "".join(event.text for event in events if type(event) is kind) for kind in (Reasoning, Content)}
    return texts[Reasoning], texts[Content]


def cut(text: str, places: Iterable[int]) -> list[str]:
    bounds = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(bounds)]


@PROPERTY
@given(TEXTS.map(str.strip), TEXTS.map(str.strip), st.booleans(), CUTS)
def test_thought_and_answer(thought: str, answer: str, inside: bool, cuts: list[int]) -> None:
    thought = thought.replace("</think>", "").removeprefix("<think>").strip()
    opening = "" if inside and not thought.startswith("<think>") else "<think>\n"
    text = f"{opening}{thought}\n</think>\n\n{answer}"
    assert parse(cut(text, cuts), starts_inside=inside) == (thought, answer)


@PROPERTY
@given(TEXTS, st.booleans(), CUTS)
def test_any_text_reads_the_same_however_it_is_cut(text: str, inside: bool, cuts: list[int]) -> None:
    whole = parse([text], starts_inside=inside)
    assert parse(cut(text, cuts), starts_inside=inside) == parse(text, starts_inside=inside) == whole


@pytest.mark.parametrize(
    ("text", "inside", "thought", "answer"),
    [
        ("Hello", False, "", "Hello"),
        (" \nHello <think>", False, "", " \nHello <think>"),
        ("<thing>", False, "", "<thing>"),
        ("<thin", False, "", "<thin"),
        ("\n<think>\n\n</think>\n\nHi", False, "", "Hi"),
        ("Hm.\n</think>\n\nHi", True, "Hm.", "Hi"),
        ("<think>\nHm.\n</think>Hi", True, "Hm.", "Hi"),
        ("<think>one </th two </think>Hi </think> ho", False, "one </th two", "Hi </think> ho"),
        ("<think>never ends </thi", False, "never ends </thi", ""),
        ("never ends\n", True, "never ends\n", ""),
        ("<thi", True, "<thi", ""),
        ("", True, "", ""),
        ("", False, "", ""),
    ],
)
def test_examples(text: str, inside: bool, thought: str, answer: str) -> None:
    assert parse([text], starts_inside=inside) == parse(text, starts_inside=inside) == (thought, answer)


def test_both_are_streamed_as_soon_as_they_are_certain() -> None:
    parser = ReasoningParser()
    assert parser.push("<th") == []
    assert parser.push("ink>\n") == []
    assert parser.push("Hm") == [Reasoning("Hm")]
    assert parser.push(". ") == [Reasoning(".")]
    assert parser.push("So</") == [Reasoning(" So")]
    assert parser.push("b></think>\n") == [Reasoning("</b>")]
    assert parser.push("\nYes") == [Content("Yes")]
    assert parser.push(" <think>\n") == [Content(" <think>\n")]
    assert parser.flush() == []


def test_who_thinks() -> None:
    assert thinks("{{ '<think>\\n' }}")
    assert thinks("{% set content = content.split('</think>')[-1] %}")
    assert not thinks("{{ messages }}")
    assert not thinks(None)
    assert ends_inside("<|im_start|>assistant\n<think>\n")
    assert not ends_inside("<|im_start|>assistant\n<think>\n\n</think>\n\n")


@pytest.mark.parametrize(
    ("pieces", "inside", "tokens"),
    [
        ([b"Hi"], False, 0),
        ([b" ", b"<th", b"ing>"], False, 0),
        ([b"\n", b"<think>", b"hm", b"</think>", b"\n", b"Hi"], False, 4),
        ([b"<think>x</think>Hi", b"ho"], False, 1),
        ([b"hm", b"</thi", b"nk> Hi", b"ho"], True, 3),
        ([b"\xe4\xbd", b"\xa0", b"hm"], True, 3),
        ([], True, 0),
        ([b" "], False, 0),
    ],
)
def test_the_tokens_of_a_thought_are_counted(pieces: list[bytes], inside: bool, tokens: int) -> None:
    counter = ThoughtCounter(starts_inside=inside)
    for piece in pieces:
        counter.push(piece)
    assert counter.tokens == tokens


def test_a_grammar_of_what_comes_before_names_the_answer() -> None:
    tags = {"<think>": 300, "</think>": 301}
    for inside in (True, False):
        plain = grammar_before(starts_inside=inside, control_ids={})
        assert "@answer" in plain
        assert "<[" not in plain
        assert "<[301]>" in grammar_before(starts_inside=inside, control_ids=tags)
