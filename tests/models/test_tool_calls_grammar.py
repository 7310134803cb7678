from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from ixmodal.models.tool_calls import CallArguments, CallEnded, CallStarted, ToolFormat
from ixmodal.models.tool_calls.formats import GENERIC, HERMES, LLAMA, MISTRAL, choose_format

PROPERTY = settings(max_examples=100, deadline=None, database=None, derandomize=True)
NAMED = choose_format("{{ tools }}[TOOL_CALLS][ARGS]")
NAMED_WITH_ID = choose_format("{{ tools }}[TOOL_CALLS][CALL_ID][ARGS]")
EOS = 256
TOOL_CALLS = 257


class Bytes:
    """A vocabulary of all single bytes, the end of text and one control token."""

    eos_token_id = EOS
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"\xff</s>", b"\xff[TOOL_CALLS]")
    special_token_ids = (EOS, TOOL_CALLS)

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


TOKENIZER = LLTokenizer(TokenizerWrapper(Bytes()))


def tool(name: str, **parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


GET = tool(
    "get",
    type="object",
    properties={
        "city": {"type": "string", "minLength": 2},
        "days": {"type": "integer", "minimum": 1},
        "unit": {"enum": ["C", "F"]},
    },
    required=["city"],
)
GET_TIME: dict[str, Any] = {"type": "function", "function": {"name": "get_time"}}
ANY = tool("any", type="object")
TOOLS = [GET, GET_TIME, ANY]


def matcher(grammar: str) -> LLMatcher:
    made = LLMatcher(TOKENIZER, grammar, log_level=0)
    assert not made.is_error(), made.get_error()
    return made


def accepts(grammar: str, text: str | list[int]) -> bool:
    tokens = list(text.encode()) if isinstance(text, str) else text
    made = matcher(grammar)
    return made.try_consume_tokens(tokens) == len(tokens) and made.is_accepting()


def written(format: ToolFormat, *calls: tuple[str, str]) -> str:
    if format in (HERMES, GENERIC):
        return "\n".join(f'<tool_call>\n{{"name": "{n}", "arguments": {a}}}\n</tool_call>' for n, a in calls)
    if format is MISTRAL:
        return "[TOOL_CALLS] [" + ", ".join(f'{{"name": "{n}", "arguments": {a}}}' for n, a in calls) + "]"
    if format is LLAMA:
        return "; ".join(f'{{"name": "{n}", "parameters": {a}}}' for n, a in calls)
    id = "[CALL_ID]aB3456789" if format is NAMED_WITH_ID else ""
    return "".join(f"[TOOL_CALLS]{n}{id}[ARGS]{a}" for n, a in calls)


formats = pytest.mark.parametrize(
    "format", [HERMES, GENERIC, MISTRAL, NAMED, NAMED_WITH_ID, LLAMA], ids=lambda each: each.name
)


@formats
def test_one_call_of_any_tool(format: ToolFormat) -> None:
    grammar = format.grammar(TOOLS)
    for name, arguments in [
        ("get", '{"city": "Paris"}'),
        ("get", '{"city": "Pa\\"}r", "days": 3, "unit": "C"}'),
        ("get_time", "{}"),
        ("any", '{"a": [1, {"b": null}], "c": "\\u0007é😀"}'),
        ("any", "{}"),
    ]:
        assert accepts(grammar, written(format, (name, arguments)))
    for name, arguments in [
        ("nobody", "{}"),
        ("get", "{}"),
        ("get", '{"city": "P"}'),
        ("get", '{"city": "Paris", "days": 0}'),
        ("get", '{"city": "Paris", "days": "3"}'),
        ("get", '{"city": "Paris", "unit": "K"}'),
        ("get", '{"city": "Paris", "more": 1}'),
        ("get", '{"city":  "Paris"}'),
        ("get", '{"city": "Paris"'),
        ("get_time", '{"a": 1}'),
        ("any", "[]"),
        ("any", '{"a": NaN}'),
    ]:
        assert not accepts(grammar, written(format, (name, arguments)))
    right = written(format, ("get_time", "{}"))
    assert not accepts(grammar, "")
    assert not accepts(grammar, "Hi! " + right)
    assert not accepts(grammar, right + "\nDone.")
    assert not accepts(grammar, right[:-1])


@formats
def test_nothing_but_the_end_follows_a_call(format: ToolFormat) -> None:
    made = matcher(format.grammar(TOOLS))
    text = written(format, ("get", '{"city": "Paris"}'))
    assert made.consume_tokens(list(text.encode()))
    assert made.is_stopped()
    assert [token for token, bias in enumerate(made.compute_logit_bias()) if bias] == [EOS]


@formats
def test_the_named_tool_alone(format: ToolFormat) -> None:
    grammar = format.grammar(TOOLS, name="get")
    assert accepts(grammar, written(format, ("get", '{"city": "Oslo"}')))
    assert not accepts(grammar, written(format, ("get_time", "{}")))
    with pytest.raises(ValueError, match="no such tool"):
        format.grammar(TOOLS, name="nobody")
    with pytest.raises(ValueError, match="no such tool"):
        format.grammar([])


@formats
def test_parallel_calls_only_where_they_may_be(format: ToolFormat) -> None:
    calls = [("get_time", "{}"), ("get", '{"city": "Rome"}'), ("any", "{}")]
    for count in (1, 2, 3):
        assert accepts(format.grammar(TOOLS, parallel=True), written(format, *calls[:count]))
        assert accepts(format.grammar(TOOLS), written(format, *calls[:count])) == (count == 1)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=4), values, max_size=3),
)


@PROPERTY
@given(st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=3), min_size=1, max_size=3))
def test_what_a_grammar_lets_through_the_parser_reads(arguments: list[dict[str, Any]]) -> None:
    texts = [json.dumps(value, ensure_ascii=False).replace("\x7f", "") for value in arguments]
    for format in (HERMES, MISTRAL, NAMED, NAMED_WITH_ID, LLAMA):
        text = written(format, *(("any", text) for text in texts))
        assert accepts(format.grammar(TOOLS, parallel=True), text)
        parser = format.parser(["any"])
        events = parser.push(text) + parser.flush()
        assert events == [
            event
            for i, text in enumerate(texts)
            for event in (CallStarted(i, "any"), CallArguments(i, text), CallEnded(i))
        ]


def test_markers_that_are_control_tokens_are_written_as_such() -> None:
    grammar = MISTRAL.grammar(TOOLS, control_ids={"[TOOL_CALLS]": TOOL_CALLS, "<s>": 1})
    rest = list(b'[{"name": "get_time", "arguments": {}}]')
    assert accepts(grammar, [TOOL_CALLS, *rest])
    assert not accepts(grammar, [*b"[TOOL_CALLS]", *rest])
    made = matcher(grammar)
    assert [token for token, bias in enumerate(made.compute_logit_bias()) if bias] == [TOOL_CALLS]


def test_schemas_of_all_kinds() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "additionalProperties": False}
    referring = tool("f", **{"$ref": "#/$defs/node", "$defs": {"node": node}})
    merged = tool("f", type="object", properties={"a": {"type": "null"}}, allOf=[{"properties": {"b": {"const": 1}}}])
    unsupported = tool("f", type="object", properties={"a": {"type": "string", "format": "phone", "not": {"const": 1}}})
    untyped = tool("f", properties={"a": {}})
    for given_tool, right, wrong in [
        (referring, '{"next": {"next": {}}}', '{"next": {"last": {}}}'),
        (merged, '{"a": null, "b": 1}', '{"b": 2}'),
        (unsupported, '{"a": "x"}', '{"a": 1}'),
        (untyped, '{"a": [1]}', '"a"'),
    ]:
        grammar = HERMES.grammar([given_tool])
        assert accepts(grammar, written(HERMES, ("f", right)))
        assert not accepts(grammar, written(HERMES, ("f", wrong)))
