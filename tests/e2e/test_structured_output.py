"""Whatever the model: an answer under a constraint satisfies it, or says that it was cut."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

from tests.e2e.test_openai_sdk import QUESTION

SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False},
    {"type": "array", "items": {"enum": ["red", "green"]}, "minItems": 2, "maxItems": 3},
    {"enum": [1, "two", None, True]},
    {"type": "string", "pattern": "^[A-Z]{3}$"},
    {"anyOf": [{"type": "boolean"}, {"type": "object", "properties": {"é": {"const": "你好"}}, "required": ["é"]}]},
]


class City(BaseModel):
    name: str = Field(max_length=20)
    people: int = Field(ge=0, le=10**8)


def ask(client: OpenAI, **fields: Any) -> Any:
    messages = [{"role": "user", "content": QUESTION}]
    return client.chat.completions.create(model="demo", messages=messages, max_tokens=200, **fields).choices[0]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_answers_match_their_schema(client: OpenAI, schema: dict[str, Any], seed: int) -> None:
    format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    choice = ask(client, response_format=format, temperature=1.2, seed=seed)
    assert choice.finish_reason == "stop"
    jsonschema.validate(json.loads(choice.message.content), schema)


def test_json_object_parses_or_says_that_it_was_cut(client: OpenAI) -> None:
    for seed in range(5):
        choice = ask(client, response_format={"type": "json_object"}, seed=seed)
        assert choice.message.content.lstrip().startswith("{")
        if choice.finish_reason == "stop":
            assert isinstance(json.loads(choice.message.content), dict)
        else:
            assert choice.finish_reason == "length"


def test_the_parse_helper(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="demo", messages=[{"role": "user", "content": QUESTION}], response_format=City, seed=4, max_tokens=200
    )
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(answer.choices[0].message.parsed, City)


def test_regex_and_grammars(client: OpenAI) -> None:
    found = ask(client, extra_body={"regex": "[a-z]{2,5}-[0-9]{2}"}).message.content
    assert re.fullmatch("[a-z]{2,5}-[0-9]{2}", found)
    assert ask(client, extra_body={"grammar": 'start: "yes" | "no"'}).message.content in ("yes", "no")
    assert ask(client, extra_body={"grammar": 'root ::= "ja" | "nein"'}).message.content in ("ja", "nein")


def test_streamed_constraints_arrive_whole(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": QUESTION}],
        stream=True,
        extra_body={"regex": "(你好 ){3}x"},
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "你好 你好 你好 x"


def test_unsupported_keywords_are_named(client: OpenAI) -> None:
    schema = {"type": "object", "unevaluatedProperties": False, "dependentSchemas": {}}
    with pytest.raises(Exception, match="unevaluatedProperties"):
        ask(client, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
