"""Grammars that force calls, in llguidance's Lark syntax (its docs/syntax.md and docs/json_schema.md).

JSON is written as `json.dumps` writes it by default, with a space after each comma and colon: so do the templates of
all these families, and so their models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_GUIDANCE = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
_OPEN = re.compile(r"\$ref|(pattern|additional|unevaluated)Properties|dependentSchemas|allOf|anyOf|oneOf|not|if")
"""Keywords by which a schema says more about an object's properties than their list."""


class Rules:
    """Collects the rules of one grammar: of calls alone, or of calls in the midst of text."""

    def __init__(
        self,
        tools: Sequence[Mapping[str, Any]],
        name: str | None,
        control_ids: Mapping[str, int],
        *,
        parallel: bool,
        free: bool = False,
        but: str | None = None,
    ) -> None:
        """Rules for `tools`, or the one called `name`.

        Args:
            tools: as in the OpenAI API.
            name: the only one to call.
            control_ids: ids of control tokens by their text: a marker found there is that token, another is text.
            parallel: whether there may be several calls.
            free: whether there may be text as well, before calls and instead of them.
            but: a regular expression of what that text can't be.

        Raises:
            ValueError: there is no such tool.
        """
        self._functions = [tool["function"] for tool in tools if name in (None, tool["function"]["name"])]
        if not self._functions:
            raise ValueError("there is no such tool to call")
        self._control_ids = control_ids
        self._lines: list[str] = []
        self._no_text = [but] if but else []
        self.parallel = parallel
        self.free = free

    def marker(self, text: str) -> str:
        """The expression for a marker: its control token, or its text."""
        return f"<[{self._control_ids[text]}]>" if text in self._control_ids else literal(text)

    def opening(self, text: str) -> str:
        """The expression for the marker that begins a call; where text is free, what comes before it is part of it."""
        if not self.free:
            return self.marker(text)
        self.add("opening_text[lazy]", f"TEXT {literal(text)}")
        self.add("opening", "opening_text" + (f" | TEXT {self.marker(text)}" if text in self._control_ids else ""))
        return "opening"

    def add_start(self, call: str, between: str = "") -> None:
        """The rule `start`: the rule `call`, and more of them, `between` in between, where they may be parallel."""
        if self.free:
            self.add("start", f"{call}* TEXT" if self.parallel else f"{call} | TEXT")
        else:
            self.add("start", repeat(call, f"{between} {call}".strip(), parallel=self.parallel))

    def keep_from_text(self, pattern: str) -> None:
        """What matches this regular expression can't be free text."""
        self._no_text.append(pattern)

    @property
    def names(self) -> list[str]:
        """The functions that can be called."""
        return [function["name"] for function in self._functions]

    def add(self, name: str, expression: str) -> None:
        """Another rule."""
        self._lines.append(f"{name}: {expression}")

    def add_calls(self, before: Callable[[str], str], after: str = "") -> None:
        """A rule `call`: any of the tools, its arguments between the expressions `before`, of its name, and `after`."""
        schema_of = any_arguments if self.free else arguments_schema
        self.add("call", " | ".join(f"call_{i}" for i in range(len(self._functions))))
        for i, function in enumerate(self._functions):
            self.add(f"call_{i}", f"{before(function['name'])} arguments_{i} {after}".rstrip())
            self.add(f"arguments_{i}", f"%json {json.dumps(schema_of(function))}")

    def add_objects(self, arguments_key: str) -> None:
        """A rule `call`: an object of a tool's name, and its arguments under this key."""
        self.add_calls(
            lambda name: literal(f'{{"name": {json.dumps(name)}, "{arguments_key}": '),
            literal("}"),
        )

    def text(self) -> str:
        """The grammar."""
        text = [r"TEXT: /(?s:.*)/", *(f"~/{pattern}/" for pattern in self._no_text)] if self.free else []
        return "\n".join([*self._lines, " & ".join(text)]) + "\n"


def literal(text: str) -> str:
    """A Lark string of exactly this text."""
    return json.dumps(text, ensure_ascii=False)


def any_arguments(function: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a function's arguments where these are the model's own affair, unless the function is `strict`."""
    return arguments_schema(function if function.get("strict") else {"parameters": {"type": "object"}})


def arguments_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a function's arguments: always an object.

    Where the schema only lists properties, no others are let through: a model that is forced to go on finds no end
    otherwise.
    """
    schema = dict(function.get("parameters") or {"properties": {}})
    schema["type"] = "object"
    if "properties" in schema and not any(map(_OPEN.fullmatch, schema)):
        schema["additionalProperties"] = False
    # What llguidance can't hold to in a schema is left to the model, unless the schema is to be met whatever it says.
    schema["x-guidance"] = {**_GUIDANCE, "lenient": not function.get("strict")}
    return schema


def repeat(first: str, again: str, *, parallel: bool) -> str:
    """One of `first`, and where calls may be parallel any number of `again` after it."""
    return f"{first} ({again})*" if parallel else first
