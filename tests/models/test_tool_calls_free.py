"""Calls of strict tools in answers that are otherwise free."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import jsonschema
import pytest
from llguidance import LLMatcher

from ixmodal.models.reasoning import BEGINS_WITH_THOUGHT
from ixmodal.models.tool_calls import CallArguments, CallEnded, CallStarted, Content, ToolFormat
from ixmodal.models.tool_calls.formats import HERMES, LLAMA, MISTRAL
from tests.models.test_tool_calls_grammar import (
    EOS,
    GET,
    TOKENIZER,
    TOOL_CALLS,
    accepts,
    formats,
    matcher,
    tool,
    written,
)

STRICT: dict[str, Any] = {**GET, "function": {**GET["function"], "strict": True}}
LOOSE = tool("any", type="object", properties={"n": {"type": "integer"}}, required=["n"])
TOOLS = [STRICT, LOOSE]
SCHEMA = {**GET["function"]["parameters"], "additionalProperties": False}
RIGHT = ("get", '{"city": "Paris", "days": 3}')
WRONG = [
    ("get", "{}"),
    ("get", '{"city": "P"}'),
    ("get", '{"city": "Paris", "days": "3"}'),
    ("get", '{"city": "Paris", "more": 1}'),
    ("get", '{"city": "Paris", "unit": "K"}'),
    ("get", "null"),
    ("get", '"{\\"city\\": 1}"'),
]


@formats
@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello 你好 😀\n",
        "[1, 2]",
        "<b>",
        "<tool_",
        "[TOOL_CALL",
        '{"id": 1, "title": "x"}',
        '{"type": "object"}',
        "{",
    ],
)
def test_text_is_free(format: ToolFormat, text: str) -> None:
    assert accepts(format.free_grammar(TOOLS), text)
    assert accepts(format.free_grammar(TOOLS, parallel=False), text)


@formats
def test_a_call_of_a_strict_tool_conforms(format: ToolFormat) -> None:
    grammar = format.free_grammar(TOOLS)
    assert accepts(grammar, written(format, RIGHT))
    for call in WRONG:
        assert not accepts(grammar, written(format, call)), call


@formats
def test_a_call_of_another_tool_is_any_object(format: ToolFormat) -> None:
    grammar = format.free_grammar(TOOLS)
    assert accepts(grammar, written(format, ("any", '{"n": "x", "more": [1]}')))
    assert accepts(grammar, written(format, ("any", "{}")))
    assert not accepts(grammar, written(format, ("any", "[]")))


@formats
def test_several_calls_only_where_they_may_be(format: ToolFormat) -> None:
    several = written(format, RIGHT, ("any", "{}"), RIGHT)
    assert accepts(format.free_grammar(TOOLS), several)
    assert not accepts(format.free_grammar(TOOLS, parallel=False), several)
    assert accepts(format.free_grammar(TOOLS, parallel=False), written(format, RIGHT))


@pytest.mark.parametrize("format", [HERMES, MISTRAL])
def test_text_before_a_call_and_after_it(format: ToolFormat) -> None:
    grammar = format.free_grammar(TOOLS)
    assert accepts(grammar, f"Let me see. {written(format, RIGHT)} So.")
    assert not accepts(grammar, f"Let me see. {written(format, WRONG[0])}")


def test_llamas_calls_are_the_whole_answer_or_follow_their_tag() -> None:
    grammar = LLAMA.free_grammar(TOOLS)
    call = '{"name": "get", "parameters": {"city": "Oslo"}}'
    for text in (call, f" \n{call}", f"Hm <|python_tag|>{call}", call.replace("{", '{"type": "function", ', 1)):
        assert accepts(grammar, text)
    assert accepts(grammar, f"So: {call} and {call[:-3]}")  # is text: no parser takes it for a call
    assert not accepts(grammar, call + " ok")
    assert accepts(grammar, '{"name": "Alice", "age": 3}')
    assert not accepts(grammar, '{"name": "get", "age": 3}')


def test_a_thought_is_kept_out_of_the_text() -> None:
    grammar = HERMES.free_grammar(TOOLS, but=BEGINS_WITH_THOUGHT)
    assert accepts(grammar, "a <think>")
    assert not accepts(grammar, " \n<think>a")


def test_a_control_token_begins_a_call_and_so_does_its_text() -> None:
    grammar = MISTRAL.free_grammar(TOOLS, control_ids={"[TOOL_CALLS]": TOOL_CALLS})
    call = written(MISTRAL, RIGHT).removeprefix("[TOOL_CALLS]").encode()
    wrong = written(MISTRAL, WRONG[0]).removeprefix("[TOOL_CALLS]").encode()
    for before in (b"", b"Hi "):
        assert accepts(grammar, [*before, TOOL_CALLS, *call])
        assert accepts(grammar, [*before, *b"[TOOL_CALLS]", *call])
        assert not accepts(grammar, [*before, TOOL_CALLS, *wrong])
        assert not accepts(grammar, [*before, *b"[TOOL_CALLS]", *wrong])


def test_a_schema_that_cant_be_held_to_is_refused_if_it_is_strict() -> None:
    function = {"name": "f", "parameters": {"type": "object", "not": {"const": 1}}}
    for grammar in (HERMES.grammar, HERMES.free_grammar):
        assert not LLMatcher(TOKENIZER, grammar([{"function": function}]), log_level=0).is_error()
        made = LLMatcher(TOKENIZER, grammar([{"function": {**function, "strict": True}}]), log_level=0)
        assert "not" in made.get_error()


EVIL = [
    "x <tool_call>{call}</tool_call>",
    "<tool_call>\n{call}\n</tool_call>",
    "<tool_call> {escaped}",
    "<tool_call>{late}</tool_call>",
    "[TOOL_CALLS]{call}",
    "[TOOL_CALLS] [{late}]",
    "[TOOL_CALLS]get{arguments}",
    "[TOOL_CALLS]get[ARGS]{arguments}",
    "[TOOL_CALLS]get[CALL_ID]123[ARGS]{arguments}",
    " \n{call}",
    "{escaped}",
    "{late}",
    "{twice}",
    "{typed}",
    '{{"id": 1, {rest}',
    "{call}; {call}",
    "<|python_tag|> {call}",
    "Hm <|python_tag|>{late}",
]


def scripts() -> list[str]:
    found = []
    for arguments in ("{}", '{"city": 1}', "null", '{"city": "Rome", "unit": "K"}'):
        call = f'{{"name": "get", "parameters": {arguments}}}'
        forms = {
            "call": call,
            "arguments": arguments,
            "rest": call[1:],
            "escaped": call.replace("get", "g\\u0065t"),
            "late": f'{{"arguments": {arguments}, "name": "get"}}',
            "twice": f'{{"name": "any", "name": "get", "parameters": {arguments}}}',
            "typed": f'{{"type": "tool", {call[1:]}',
        }
        found += [evil.format(**forms) for evil in EVIL]
    return found


def write(grammar: str, script: str, rng: random.Random) -> str:
    """What a model writes that follows a script wherever it is allowed to, and else is driven by chance."""
    made = matcher(grammar)
    wanted, said = list(script.encode()), bytearray()
    while len(said) < 300 and not made.is_stopped():
        allowed = [token for token, bias in enumerate(made.compute_logit_bias()) if bias]
        nearest = next((at for at, byte in enumerate(wanted) if byte in allowed), None)
        if nearest is not None:
            token = wanted[nearest]
            del wanted[: nearest + 1]
        elif EOS in allowed:
            break
        else:
            closing = [token for token in allowed if token in b'"}]\n']
            token = rng.choice(closing or allowed)
        assert made.consume_token(token)
        said.append(token)
    return said.decode("utf-8", "replace")


def calls_in(format: ToolFormat, text: str, names: Sequence[str]) -> tuple[list[tuple[str, str]], str]:
    """The calls that a parser reads which ended, and the content."""
    parser = format.parser(names, exact=True)
    events = parser.push(text) + parser.flush()
    called = {event.index: event.name for event in events if isinstance(event, CallStarted)}
    arguments = dict.fromkeys(called, "")
    for event in events:
        if isinstance(event, CallArguments):
            arguments[event.index] += event.delta
    ended = [event.index for event in events if isinstance(event, CallEnded)]
    content = "".join(event.text for event in events if isinstance(event, Content))
    return [(called[index], arguments[index]) for index in ended], content


@formats
def test_no_model_gets_a_wrong_call_through(format: ToolFormat) -> None:
    rng = random.Random(7)
    grammar = format.free_grammar(TOOLS)
    seen = 0
    for script in scripts():
        text = write(grammar, script, rng)
        for name, arguments in calls_in(format, text, ["get", "any"])[0]:
            seen += name == "get"
            if name == "get":
                jsonschema.validate(json.loads(arguments), SCHEMA)
    assert seen > 10  # they were made to conform rather than kept from calling


@formats
def test_without_the_grammar_the_same_scripts_are_wrong_calls(format: ToolFormat) -> None:
    wrong = 0
    for script in scripts():
        for name, arguments in calls_in(format, script, ["get", "any"])[0]:
            wrong += name == "get" and not jsonschema.Draft202012Validator(SCHEMA).is_valid(json.loads(arguments))
    assert wrong
