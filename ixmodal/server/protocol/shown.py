"""How types that read several forms are shown in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BeforeValidator, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import TypedDict

from ixmodal.server.protocol.body import Body


def shown_as(kind: Any) -> BeforeValidator:
    """Mark a field whose requests may have the forms of `kind`, whatever its own type makes of them."""
    return BeforeValidator(_same, json_schema_input_type=kind)


def _same(value: Any) -> Any:
    return value


class ClosedDict(TypedDict):
    """A base of objects in requests: other keys are refused."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # pydantic's own name for it


class NullIsUnset(Body):
    """A base of objects in which null is the same as nothing."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_unset(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The fields that may be left out may be null as well."""
        shown = handler(core)
        inside = handler.resolve_ref_schema(shown)
        if handler.mode == "validation":
            for name in set(inside["properties"]) - set(inside.get("required", ())):
                inside["properties"][name] = or_null(inside["properties"][name])
        return shown


def or_null(schema: JsonSchemaValue) -> JsonSchemaValue:
    """The schema, or null."""
    options = schema.get("anyOf", [schema])
    return schema if {"type": "null"} in options else {"anyOf": [*options, {"type": "null"}]}
