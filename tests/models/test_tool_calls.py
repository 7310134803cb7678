from __future__ import annotations

import json
import time
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from ixmodal.models.tool_calls import CallArguments, CallEnded, CallStarted, Content, ParsedEvent, ToolFormat
from ixmodal.models.tool_calls.formats import HERMES, LLAMA, MISTRAL, choose_format
from ixmodal.models.tool_calls.json_text import MAX_DEPTH
from ixmodal.models.tool_calls.reader import MAX_CALL_CHARACTERS

NAMES = ("add", "get", "get_weather", "x-1")
Call = tuple[str, str]


def parse(format: ToolFormat, pieces: Iterable[str]) -> list[ParsedEvent]:
    parser = format.parser(NAMES)
    return joined([event for piece in pieces for event in parser.push(piece)] + parser.flush())


def joined(events: list[ParsedEvent]) -> list[ParsedEvent]:
    merged: list[ParsedEvent] = []
    for event in events:
        match (merged[-1] if merged else None, event):
            case (Content(before), Content(text)):
                merged[-1] = Content(before + text)
            case (CallArguments(i, before), CallArguments(j, delta)) if i == j:
                merged[-1] = CallArguments(i, before + delta)
            case _:
                merged.append(event)
    return merged


def content_of(events: list[ParsedEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Content))


def called(*calls: Call, first: int = 0) -> list[ParsedEvent]:
    events: list[ParsedEvent] = []
    for index, (name, arguments) in enumerate(calls, first):
        events += [CallStarted(index, name), CallArguments(index, arguments), CallEnded(index)]
    return events


def arguments_of(events: list[ParsedEvent], index: int) -> str:
    return "".join(event.delta for event in events if isinstance(event, CallArguments) and event.index == index)


def cut(text: str, places: Iterable[int]) -> list[str]:
    bounds = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(bounds)]


def hermes(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def mistral(*calls: Call) -> str:
    return "[TOOL_CALLS] [" + ", ".join(f'{{"name": "{n}", "arguments": {a}}}' for n, a in calls) + "]"


def llama(name: str, arguments: str) -> str:
    return f'{{"name": "{name}", "parameters": {arguments}}}'


# What comes when


def test_content_is_streamed_as_soon_as_it_can_be_no_call() -> None:
    parser = HERMES.parser(NAMES)
    assert parser.push("Hello") == [Content("Hello")]
    assert parser.push(" <tool") == []
    assert parser.push("s>") == [Content(" <tools>")]
    assert parser.push("\n") == []
    assert parser.push("a") == [Content("\na")]
    assert parser.flush() == []


@pytest.mark.parametrize(
    ("format", "head"),
    [
        (HERMES, '<tool_call>\n{"name": "get", "arguments": '),
        (MISTRAL, '[TOOL_CALLS][{"name": "get", "arguments": '),
        (MISTRAL, "[TOOL_CALLS]get[ARGS]"),
        (LLAMA, '{"name": "get", "parameters": '),
    ],
)
def test_arguments_are_streamed_as_they_arrive(format: ToolFormat, head: str) -> None:
    parser = format.parser(NAMES)
    assert parser.push(head) == []
    assert parser.push("{") == [CallStarted(0, "get"), CallArguments(0, "{")]
    for piece in ['"ci', 'ty"', ': "', "Par", "is\\", "u00", 'e9"', ", "]:
        assert parser.push(piece) == [CallArguments(0, piece)]
    assert parser.push('"n": 1') == [CallArguments(0, '"n": ')]  # a number is known by what follows it
    assert parser.push("2}") == [CallArguments(0, "12}"), CallEnded(0)]


def test_white_space_beside_calls_is_no_content() -> None:
    text = f" \n{hermes('get', '{}')}\n\n{hermes('add', '{}')}\n"
    assert parse(HERMES, text) == called(("get", "{}"), ("add", "{}"))
    assert parse(HERMES, ["Let me see.\n" + hermes("get", "{}") + "\nDone", ".", "\n"]) == [
        Content("Let me see."),
        *called(("get", "{}")),
        Content("\nDone.\n"),
    ]
    assert parse(HERMES, " \n ") == [Content(" \n ")]


def test_long_white_space_is_not_held_back_for_ever() -> None:
    parser = HERMES.parser(NAMES)
    assert len(content_of(parser.push("\n" * 1000))) == 1000 - 256
    assert len(content_of(parser.flush())) == 256


# What is and what is no call

WELL_MEANT = [
    (HERMES, '<tool_call>{"arguments": {"a": [1, {"b": "}"}]}, "name": "get"}</tool_call>', '{"a": [1, {"b": "}"}]}'),
    (HERMES, '<tool_call>{"name": "get", "arguments": "{\\"a\\": \\"\\\\n\\"}"}</tool_call>', '{"a": "\\n"}'),
    (HERMES, '<tool_call>{"name": "get"}</tool_call>', "{}"),
    (HERMES, '<tool_call>{"name": "get", "arguments": null}</tool_call>', "{}"),
    (HERMES, '<tool_call>{"why": {"name": "x"}, "name": "get", "arguments": {}, "id": 7}</tool_call>', "{}"),
    (HERMES, '<tool_call>{"name": "get", "parameters": { }}</tool_call>', "{ }"),
    (HERMES, '<tool_call>{"name": "get", "arguments": {"a": 1}\n</tool_call>', '{"a": 1}'),
    (HERMES, '<tool_call>{"name": "\\u0067et", "arguments": {}}', "{}"),
    (HERMES, '<tool_call>{"name": "get", "arguments": {}}\n</tool_', "{}"),
    (MISTRAL, '[TOOL_CALLS] {"name": "get", "arguments": {}}', "{}"),
    (MISTRAL, '[TOOL_CALLS] [{"name": "get", "arguments": {}, "id": "abcdef123"}]', "{}"),
    (MISTRAL, '[TOOL_CALLS]get[ARGS] {"a": -1.5e+3}', '{"a": -1.5e+3}'),
    (LLAMA, '{"type": "function", "name": "get", "parameters": {}}', "{}"),
    (LLAMA, '<|python_tag|> {"name": "get", "arguments": {}}', "{}"),
]


@pytest.mark.parametrize(("format", "text", "arguments"), WELL_MEANT)
def test_well_meant_calls(format: ToolFormat, text: str, arguments: str) -> None:
    assert parse(format, [text]) == parse(format, text) == called(("get", arguments))


NO_CALLS = [
    (HERMES, '<tool_call>\n{"name": "nobody", "arguments": {}}\n</tool_call>'),
    (HERMES, '<tool_call>{"arguments": {"a": 1}}</tool_call>'),
    (HERMES, '<tool_call>{"name": 1, "arguments": {}}</tool_call>'),
    (HERMES, '<tool_call>{"name": "get", "arguments": []}</tool_call>'),
    (HERMES, '<tool_call>{"name": "get", "arguments": "no object"}</tool_call>'),
    (HERMES, '<tool_call>{"name": "get", "arguments": "{\\"a\\": NaN}"}</tool_call>'),
    (HERMES, '<tool_call>{"name": "get", "arguments": "{\\"a\\": \\"\\ud800\\"}"}</tool_call>'),
    (HERMES, '<tool_call>{"name": "get", "name": "add", "arguments": {}}</tool_call>'),
    (HERMES, '<tool_call>{"name": "get" "arguments": {}}</tool_call>'),
    (HERMES, "<tool_call>{'name': 'get'}</tool_call>"),
    (HERMES, "<tool_call>{}</tool_call>"),
    (HERMES, '<tool_call>\n{"name": "ge'),
    (HERMES, "<tool_call>"),
    (HERMES, " see </tool_call> <tool_cal"),
    (MISTRAL, '[TOOL_CALLS] [{"name": "nobody", "arguments": {}}]'),
    (MISTRAL, "[TOOL_CALLS] []"),
    (MISTRAL, "[TOOL_CALLS]nobody[ARGS]{}"),
    (MISTRAL, "[TOOL_CALLS]get[ARGS]"),
    (MISTRAL, "[TOOL_CALLS]get[ARGS][]"),
    (MISTRAL, "[TOOL_CALLS]get is what I would call."),
    (LLAMA, '{"city": "Paris", "name": "get", "parameters": {}}'),
    (LLAMA, '{"name": "Ada", "id": 3}'),
    (LLAMA, '<|python_tag|>brave_search.call(query="x")'),
    (LLAMA, 'I call {"name": "get", "parameters": {}}'),
]


@pytest.mark.parametrize(("format", "text"), NO_CALLS)
def test_what_is_no_call_stays_as_it_was_written(format: ToolFormat, text: str) -> None:
    assert parse(format, [text]) == parse(format, text) == [Content(text)]


def test_a_call_follows_one_that_failed() -> None:
    failed = '<tool_call>{"name": "nobody", "arguments": {}}</tool_call>'
    right = hermes("get", "{}")
    assert parse(HERMES, [f"{failed}\n{right}"]) == [Content(failed), *called(("get", "{}"))]
    assert parse(HERMES, ["<tool_call>" + right]) == [Content("<tool_call>"), *called(("get", "{}"))]
    unclosed = right.removesuffix("\n</tool_call>")
    assert parse(HERMES, [f"{unclosed}\n{right}"]) == called(("get", "{}"), ("get", "{}"))


@pytest.mark.parametrize(
    "rest", ['<tool_call>{"name": "ge', '<tool_call>{"name": "nobody"', "<tool_call>x", "<tool_call>"]
)
def test_a_call_that_fails_follows_one(rest: str) -> None:
    text = f"{hermes('get', '{}')}\n{rest}"
    assert parse(HERMES, [text]) == parse(HERMES, text) == [*called(("get", "{}")), Content(f"\n{rest}")]


@pytest.mark.parametrize("rest", [", {", ', {"name": "ge', " and", ', {"name": "nobody", "arguments": {}}]', ", 1]"])
def test_an_array_that_fails_after_a_call(rest: str) -> None:
    text = mistral(("get", "{}")).removesuffix("]") + rest
    assert parse(MISTRAL, [text]) == parse(MISTRAL, text) == [*called(("get", "{}")), Content(rest)]


def test_what_follows_a_call_is_content() -> None:
    assert parse(LLAMA, [llama("get", "{}") + " Done."]) == [*called(("get", "{}")), Content(" Done.")]


BROKEN = ['{"a": tru', '{"a": 01', '{"a" 1', '{"a": 1,', "{'", '{"a": "\n', '{"a": "\\x', '{"a": "\\u12G', '{"a": [1}']


@pytest.mark.parametrize("arguments", BROKEN)
def test_arguments_that_stop_being_json_end_as_content(arguments: str) -> None:
    text = hermes("get", arguments)
    events = parse(HERMES, [text])
    assert parse(HERMES, text) == events
    assert events[0] == CallStarted(0, "get")
    assert CallEnded(0) not in events
    assert text.endswith(arguments_of(events, 0) + content_of(events))


def test_an_answer_cut_in_the_middle_of_arguments_leaves_the_call_as_it_is() -> None:
    events = parse(HERMES, [hermes("get", '{"a": "b')[: -len("}\n</tool_call>")]])
    assert events == [CallStarted(0, "get"), CallArguments(0, '{"a": "b')]


# Limits


def test_depth_is_bounded() -> None:
    deep = '{"a": ' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}"
    assert parse(HERMES, [hermes("get", deep)]) == called(("get", deep))
    deeper = deep.replace("[]", "[[]]")
    events = parse(HERMES, [hermes("get", deeper)])
    assert CallEnded(0) not in events
    assert content_of(events).startswith("[]")


def test_length_is_bounded() -> None:
    padding = MAX_CALL_CHARACTERS - len('{"a": ""}')
    longest = json.dumps({"a": "x" * padding})
    assert parse(HERMES, [hermes("get", longest)]) == called(("get", longest))
    events = parse(HERMES, [hermes("get", json.dumps({"a": "x" * padding + "yz"}))])
    assert CallEnded(0) not in events
    assert len(arguments_of(events, 0)) == MAX_CALL_CHARACTERS
    assert content_of(events) == '"}}\n</tool_call>'
    unnamed = '<tool_call>{"arguments": ' + json.dumps({"a": "x" * MAX_CALL_CHARACTERS}) + ', "name": "get"}'
    assert parse(HERMES, [unnamed]) == [Content(unnamed)]


def test_hostile_answers_take_time_in_proportion() -> None:
    def seconds(text: str) -> float:
        began = time.perf_counter()
        for format in (HERMES, MISTRAL, LLAMA):
            parse(format, cut(text, range(0, len(text), 4096)))
        return time.perf_counter() - began

    for unit in ('<tool_call>{"', "\n", "<tool_call>", "[TOOL_CALLS]get", '{"name": "a":', "[TOOL_CALLS][{", "1"):
        text = unit * (200_000 // len(unit))
        assert seconds(text) < 5
        assert seconds('<tool_call>{"name": "get", "arguments": {"a": [' + text) < 5


# Which format


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{ tools }}<tool_call>", "hermes"),
        ("{{ tools }}[TOOL_CALLS][", "mistral"),
        ("{{ tools }}<|python_tag|>", "llama3"),
        ("{{ tools }} message.role == 'ipython' \"parameters\": ", "llama3"),
        ("{{ tools }}<tool_call>\n<function=", "generic"),
        ("{{ messages }}<|im_start|>", "generic"),
        ("", "generic"),
        (None, "generic"),
    ],
)
def test_the_format_follows_the_template(template: str | None, name: str) -> None:
    assert choose_format(template).name == name


def test_formats_name_what_the_parser_must_see() -> None:
    markers: dict[str, Any] = {format.name: format.markers for format in (HERMES, MISTRAL, LLAMA)}
    assert markers == {
        "hermes": ("<tool_call>", "</tool_call>"),
        "mistral": ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
        "llama3": ("<|python_tag|>",),
    }
