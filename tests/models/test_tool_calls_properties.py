"""Random conversations, whole and damaged, cut anywhere."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from ixmodal.models.tool_calls import CallArguments, CallEnded, CallStarted, Content
from ixmodal.models.tool_calls.formats import GENERIC, HERMES, LLAMA, MISTRAL
from tests.models.test_tool_calls import (
    NAMES,
    Call,
    arguments_of,
    called,
    content_of,
    cut,
    hermes,
    llama,
    mistral,
    parse,
)

PROPERTY = settings(max_examples=200, deadline=None, database=None, derandomize=True)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
TRICKY = st.sampled_from(['"', "\\", "}", "{", "</tool_call>", "<tool_call>", "[TOOL_CALLS]", "😀", "\n", "]}"])
VALUES = st.recursive(
    LEAVES | TRICKY, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v, max_size=3)
)
OBJECTS = st.dictionaries(st.text(max_size=5) | TRICKY, VALUES, max_size=4)
LAYOUTS = st.sampled_from([{}, {"separators": (",", ":")}, {"indent": 2}, {"ensure_ascii": False}])
ARGUMENTS = st.builds(lambda value, layout: json.dumps(value, **layout), OBJECTS, LAYOUTS)
CALLS = st.tuples(st.sampled_from(NAMES), ARGUMENTS)
CONTENTS = (
    st.lists(st.sampled_from(["Hi", " ", "\n", "<", "<tool", "{", "[", "[TOOL", "é", '{"a": 1}', "<|py"]), max_size=6)
    .map("".join)
    .map(str.strip)
)
CUTS = st.lists(st.integers(0, 10_000), max_size=12)
GAPS = st.sampled_from(["", "\n", " ", "\n\n"])


@PROPERTY
@given(CONTENTS, st.lists(CALLS, max_size=3), GAPS, GAPS, CUTS)
def test_hermes_conversations(content: str, calls: list[Call], gap: str, end: str, cuts: list[int]) -> None:
    for format in (HERMES, GENERIC):
        text = content + "".join(gap + hermes(*call) for call in calls) + (end if calls else "")
        expected = [Content(content)] if content else []
        assert parse(format, cut(text, cuts)) == [*expected, *called(*calls)]


@PROPERTY
@given(CONTENTS, st.lists(CALLS, max_size=3), GAPS, CUTS, st.sampled_from(["array", "named", "id", "no mark"]))
def test_mistral_conversations(content: str, calls: list[Call], gap: str, cuts: list[int], style: str) -> None:
    marks = {"named": "[ARGS]", "id": "[CALL_ID]abc123XYZ[ARGS]", "no mark": ""}
    if style == "array":
        text = content + (gap + mistral(*calls) if calls else "")
    else:
        text = content + "".join(f"{gap}[TOOL_CALLS]{name}{marks[style]}{args}" for name, args in calls)
    assert parse(MISTRAL, cut(text, cuts)) == [*([Content(content)] if content else []), *called(*calls)]


@PROPERTY
@given(st.lists(CALLS, min_size=1, max_size=3), GAPS, st.sampled_from(["", "<|python_tag|>"]), CUTS)
def test_llama_conversations(calls: list[Call], gap: str, tag: str, cuts: list[int]) -> None:
    text = gap + tag + f";{gap}".join(llama(*call) for call in calls) + gap
    assert parse(LLAMA, cut(text, cuts)) == called(*calls)


@PROPERTY
@given(CONTENTS.filter(bool), CUTS)
def test_llama_content(content: str, cuts: list[int]) -> None:
    assert parse(LLAMA, cut(content, cuts)) == [Content(content)]


@PROPERTY
@given(st.text(max_size=5), CALLS, st.integers(0, 10_000), TRICKY | st.text(max_size=3), CUTS)
def test_damaged_calls_are_the_same_however_cut_and_lose_nothing(
    before: str, call: Call, place: int, damage: str, cuts: list[int]
) -> None:
    for format, whole in ((HERMES, hermes(*call)), (MISTRAL, mistral(call)), (LLAMA, llama(*call))):
        at = place % (len(whole) + 1)
        text = before + whole[:at] + damage + whole[at:]
        events = parse(format, [text])
        assert parse(format, cut(text, cuts)) == events
        assert parse(format, text) == events
        if not any(isinstance(event, CallStarted) for event in events):
            assert content_of(events) == text
        for index in [event.index for event in events if isinstance(event, CallEnded)]:
            assert isinstance(json.loads(arguments_of(events, index)), dict)
        if "\\" not in text:  # which may be in arguments written as a string
            kept = "".join(getattr(event, "text", getattr(event, "delta", "")) for event in events)
            assert is_subsequence(kept, text)


@PROPERTY
@given(CALLS, CALLS, st.integers(0, 10_000))
def test_an_answer_cut_short_is_a_beginning_of_the_whole(first: Call, second: Call, length: int) -> None:
    for format, text in (
        (HERMES, hermes(*first) + "\n" + hermes(*second)),
        (MISTRAL, mistral(first, second)),
        (LLAMA, llama(*first) + "; " + llama(*second)),
    ):
        part = text[: length % len(text)]
        events = [event for event in parse(format, [part]) if not isinstance(event, Content)]
        whole = called(first, second)
        for event, full in zip(events, whole, strict=False):
            if event != full:
                assert isinstance(event, CallArguments)
                assert isinstance(full, CallArguments)
                assert full.delta.startswith(event.delta)


def is_subsequence(part: str, whole: str) -> bool:
    rest = iter(whole)
    return all(character in rest for character in part)
