"""`response_format` and its extensions, as constraints on the answer."""

from __future__ import annotations

import json
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ixmodal.engine.request import Constraint
from ixmodal.server.errors import field_error
from ixmodal.server.protocol.body import Body


class JsonSchema(Body):
    """A named schema. `strict` is always on: the answer matches it whether or not it is set."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """`response_format`; only the type `json_schema` has a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise field_error("json_schema", "it is needed with the type 'json_schema', and with no other")
        return self


MAX_GRAMMAR = 65_536


def to_constraint(format: ResponseFormat | None, regex: str | None, grammar: str | None) -> Constraint | None:
    """The one constraint of a request. Raises a field error if it has several."""
    found: list[Constraint] = []
    if format and format.type == "json_object":
        found.append(Constraint("json_object"))
    elif format and format.json_schema:
        found.append(Constraint("json_schema", json.dumps(format.json_schema.schema_ or {})))
    if regex is not None:
        found.append(Constraint("regex", regex, "regex"))
    if grammar is not None:
        found.append(Constraint("grammar", grammar, "grammar"))
    if len(found) > 1:
        raise field_error(found[-1].param, "only one of 'response_format', 'regex' and 'grammar' can be set")
    return found[0] if found else None
