"""JSON schemas of wire types, as the components of one document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

REF = "#/components/schemas/"
Side = Literal["request", "answer"]
_MODES: dict[Side, JsonSchemaMode] = {"request": "validation", "answer": "serialization"}


class _Plain(GenerateJsonSchema):
    """Titles say nothing that the names don't."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False


class Schemas:
    """The schemas of all types of a document; what several of them use is there once."""

    def __init__(self, types: Iterable[tuple[Side, Any]]) -> None:
        wanted = {(side, _name(kind)): (side, kind) for side, kind in types}
        inputs = [(key, _MODES[side], TypeAdapter(kind)) for key, (side, kind) in wanted.items()]
        found, shared = TypeAdapter.json_schemas(inputs, ref_template=REF + "{model}", schema_generator=_Plain)
        self._found = {key: schema for (key, _mode), schema in found.items()}
        self.components: dict[str, Any] = dict(sorted(shared.get("$defs", {}).items()))

    def of(self, side: Side, kind: Any) -> Mapping[str, Any]:
        """The schema of a type, mostly a reference to a component."""
        return self._found[side, _name(kind)]


def _name(kind: Any) -> str:
    return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', '')}.{kind}"
