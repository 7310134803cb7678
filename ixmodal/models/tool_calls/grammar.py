"""Grammars that force calls, in llguidance's Lark syntax (its docs/syntax.md and docs/json_schema.md).

JSON is written as `json.dumps` writes it by default, with a space after each comma and colon: so do the templates of
all these families, and so their models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_GUIDANCE = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False, "lenient": True}
"""`lenient`: what llguidance can't hold to in a schema is left to the model rather than refused."""
_OPEN = re.compile(r"\$ref|(pattern|additional|unevaluated)Properties|dependentSchemas|allOf|anyOf|oneOf|not|if")
"""Keywords by which a schema says more about an object's properties than their list."""


class Rules:
    """Collects the rules of one grammar."""

    def __init__(self, tools: Sequence[Mapping[str, Any]], name: str | None, control_ids: Mapping[str, int]) -> None:
        """Rules for `tools`, or the one called `name`.

        `control_ids` are the ids of control tokens by their text: a marker found there is that token, another one is
        plain text. Raises `ValueError` where there is no such tool.
        """
        self._functions = [tool["function"] for tool in tools if name in (None, tool["function"]["name"])]
        if not self._functions:
            raise ValueError("there is no such tool to call")
        self._control_ids = control_ids
        self._lines: list[str] = []

    def marker(self, text: str) -> str:
        """The expression for a marker: its control token, or its text."""
        return f"<[{self._control_ids[text]}]>" if text in self._control_ids else literal(text)

    def add(self, name: str, expression: str) -> None:
        """Another rule."""
        self._lines.append(f"{name}: {expression}")

    def add_calls(self, before: Callable[[str], str], after: str = "") -> None:
        """A rule `call`: any of the tools, its arguments between the expressions `before`, of its name, and `after`."""
        self.add("call", " | ".join(f"call_{i}" for i in range(len(self._functions))))
        for i, function in enumerate(self._functions):
            self.add(f"call_{i}", f"{before(function['name'])} arguments_{i} {after}".rstrip())
            self.add(f"arguments_{i}", f"%json {json.dumps(arguments_schema(function))}")

    def add_objects(self, arguments_key: str) -> None:
        """A rule `call`: an object of a tool's name, and its arguments under this key."""
        self.add_calls(
            lambda name: literal(f'{{"name": {json.dumps(name)}, "{arguments_key}": '),
            literal("}"),
        )

    def text(self) -> str:
        """The grammar."""
        return "\n".join(self._lines) + "\n"


def literal(text: str) -> str:
    """A Lark string of exactly this text."""
    return json.dumps(text, ensure_ascii=False)


def arguments_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a function's arguments: always an object.

    Where the schema only lists properties, no others are let through: a model that is forced to go on finds no end
    otherwise.
    """
    schema = dict(function.get("parameters") or {"properties": {}})
    schema["type"] = "object"
    if "properties" in schema and not any(map(_OPEN.fullmatch, schema)):
        schema["additionalProperties"] = False
    schema["x-guidance"] = _GUIDANCE
    return schema


def repeat(first: str, again: str, *, parallel: bool) -> str:
    """One of `first`, and where calls may be parallel any number of `again` after it."""
    return f"{first} ({again})*" if parallel else first
