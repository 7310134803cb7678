from __future__ import annotations

import functools
from typing import Any

import pytest
from pydantic import ValidationError

from ixmodal.server.agents.signature import Signature, explain, read_docstring
from ixmodal.server.agents.tools import Tool
from tests.server.agents import toolbox


def words(function: Any, arguments: str) -> str:
    with pytest.raises(ValidationError) as caught:
        Signature(function).validate(arguments)
    return explain(caught.value)


def test_a_schema_comes_from_hints_and_docstring() -> None:
    assert Tool.load("tests.server.agents.toolbox:weather").definition == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tell the weather.\n\nOf any city.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "The city's name, in English."},
                    "days": {"type": "integer", "default": 1, "description": "How many days ahead."},
                    "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
                },
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }


def test_every_kind_of_hint_has_its_schema() -> None:
    schema = Signature(toolbox.every_kind).parameters
    found = schema["properties"]
    assert {name: found[name].get("type") for name in ("whole", "real", "flag", "text")} == {
        "whole": "integer",
        "real": "number",
        "flag": "boolean",
        "text": "string",
    }
    assert found["choice"] == {"enum": ["a", 1]}
    assert found["maybe"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert found["numbers"] == {"type": "array", "items": {"type": "integer"}}
    assert found["table"] == {"type": "object", "additionalProperties": {"type": "number"}}
    assert found["place"] == {"$ref": "#/$defs/Place"}
    assert schema["$defs"]["Place"]["required"] == ["city"]
    assert found["bounded"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 3,
        "default": 2,
        "description": "One to three.",
    }
    assert found["anything"] == {"default": None}
    assert schema["required"] == [name for name in found if name not in ("bounded", "anything")]


def test_arguments_become_values_of_the_hinted_types() -> None:
    values = Signature(toolbox.every_kind).validate(
        '{"whole": "3", "real": 1, "flag": true, "text": "t", "choice": 1, "maybe": null, "numbers": [1],'
        ' "table": {"a": 2}, "place": {"city": "Rom"}}'
    )
    assert values["whole"] == 3
    assert values["place"] == toolbox.Place(city="Rom")
    assert "bounded" not in values  # the function's own default serves


@pytest.mark.parametrize("arguments", ["", "  ", "{}"])
def test_no_arguments_may_be_written_in_several_ways(arguments: str) -> None:
    assert Signature(toolbox.hang).validate(arguments) == {}
    assert Signature(toolbox.hang).parameters["properties"] == {}


def test_arguments_may_have_names_that_pydantic_keeps_to_itself() -> None:
    signature = Signature(toolbox.reserved_names)
    assert list(signature.parameters["properties"]) == ["schema", "json", "model_config", "_hidden"]
    arguments = '{"schema": "s", "json": 1, "model_config": 2, "_hidden": 3}'
    assert toolbox.reserved_names(**signature.validate(arguments)) == ["s", 1, 2, 3]


def test_a_default_that_is_no_json_is_left_out_of_the_schema() -> None:
    assert Signature(toolbox.opaque_default).parameters["properties"] == {"x": {}}


def test_a_wrapped_function_shows_what_it_wraps() -> None:
    @functools.wraps(toolbox.weather)
    def logged(*args: Any, **kwargs: Any) -> str:
        return toolbox.weather(*args, **kwargs)

    assert Signature(logged).parameters == Signature(toolbox.weather).parameters


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("{}", "city: it is required"),
        ('{"city": "x", "days": "many"}', "days: Input should be a valid integer"),
        ('{"city": "x", "days": "many"}', "but it is 'many'"),
        ('{"city": "x", "town": 1}', "town: there is no such argument"),
        ('{"city": "x", "unit": "K"}', "unit: Input should be 'C' or 'F', but it is 'K'"),
        ('{"city": "x", "argument_0": 1}', "argument_0: there is no such argument"),
        ('{"city": ', "they are not valid JSON"),
        ("[1]", "they: Input should be"),
    ],
)
def test_wrong_arguments_are_explained(arguments: str, expected: str) -> None:
    assert expected in words(toolbox.weather, arguments)


def test_a_nested_error_has_its_path_and_many_are_counted() -> None:
    found = words(toolbox.every_kind, '{"place": {"altitude": "high"}}')
    assert found.endswith("; and 2 more")
    assert "numbers: it is required" in found
    assert "place.altitude: " in words(
        toolbox.every_kind,
        '{"whole": 1, "real": 1, "flag": true, "text": "", "choice": 1, "maybe": 1, "numbers": [], "table": {},'
        ' "place": {"city": "", "altitude": "high"}}',
    )


def test_docstrings_without_arguments_are_descriptions() -> None:
    assert read_docstring("Only this.\n\nAnd: that.") == ("Only this.\n\nAnd: that.", {})
    assert read_docstring("") == ("", {})
    assert read_docstring("Do.\n\nRaises:\n    E: at times.\n\nArgs:\n  *x: of any\n\n  y:\n    more\n") == (
        "Do.",
        {"x": "of any", "y": "more"},
    )
