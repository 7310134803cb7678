"""A function as a tool: its description and the schema of its arguments, from type hints and docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

_SECTION = re.compile(r"(Args|Arguments|Parameters|Attributes|Returns|Yields|Raises|Examples?|Notes?|See Also):\s*$")
_ARGUMENT_SECTIONS = ("Args", "Arguments", "Parameters")
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_SHOWN_ERRORS = 8
_CONFIG = ConfigDict(extra="forbid", protected_namespaces=(), arbitrary_types_allowed=False)


class _Schema(GenerateJsonSchema):
    """Schemas without what only repeats names, and without a word on defaults that are no JSON."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  # as declared by the base

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class Signature:
    """What a function takes: `parameters` is the JSON schema of its arguments."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Read a function. Raises `ValueError` that says what about it can't be a tool, and what to write."""
        self.description, described = read_docstring(inspect.getdoc(function) or "")
        hints = _hints(function)
        # The arguments are aliases: they may have names that a pydantic model keeps to itself.
        self._names: dict[str, str] = {}
        fields: dict[str, Any] = {}
        for index, parameter in enumerate(inspect.signature(function).parameters.values()):
            _check(parameter, hints)
            self._names[f"argument_{index}"] = parameter.name
            fields[f"argument_{index}"] = (hints[parameter.name], _field(parameter, described.get(parameter.name)))
        try:
            self._model: type[BaseModel] = create_model("Arguments", __config__=_CONFIG, **fields)
            self.parameters = self._model.model_json_schema(schema_generator=_Schema)
        except (PydanticUserError, NameError, TypeError) as error:
            reason = (getattr(error, "message", None) or str(error)).partition("\n")[0]
            raise ValueError(f"a type hint has no JSON schema: {reason}") from None
        self.parameters.pop("title")
        self.parameters.setdefault("properties", {})

    def validate(self, arguments: str) -> dict[str, Any]:
        """The arguments that a model wrote as JSON, as values of the hinted types.

        Raises:
            ValidationError: they don't fit; `explain` says it in words.
        """
        found = self._model.model_validate_json(arguments.strip() or "{}")
        return {name: getattr(found, field) for field, name in self._names.items() if field in found.model_fields_set}


def explain(error: ValidationError) -> str:
    """What is wrong with a call's arguments, for the model that wrote them."""
    items = error.errors(include_url=False, include_context=False)
    words = [_explain_one(item) for item in items[:_SHOWN_ERRORS]]
    if len(items) > _SHOWN_ERRORS:
        words.append(f"and {len(items) - _SHOWN_ERRORS} more")
    return "; ".join(words)


def _explain_one(item: Any) -> str:
    if item["type"] == "json_invalid":
        # pydantic types the details of an error as Any.
        return item["msg"].replace("Invalid JSON", "they are not valid JSON")  # type: ignore[no-any-return]  # pydantic types it as Any
    path = ".".join(str(part) for part in item["loc"]) or "they"
    if item["type"] == "extra_forbidden":
        return f"{path}: there is no such argument"
    if item["type"] == "missing":
        return f"{path}: it is required"
    shown = f", but it is {item['input']!r:.60}" if isinstance(item["input"], str | int | float | None) else ""
    return f"{path}: {item['msg'].removeprefix('Value error, ')}{shown}"


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """A docstring's description, and that of each argument in its section `Args:` (Google's style)."""
    description: list[str] = []
    arguments: dict[str, str] = {}
    section = name = ""
    indent: int | None = None
    for line in text.splitlines():
        if header := _SECTION.match(line):
            section, name, indent = header[1], "", None
        elif not section:
            description.append(line)
        elif section in _ARGUMENT_SECTIONS and line.strip():
            depth = len(line) - len(line.lstrip())
            indent = depth if indent is None else indent
            entry = _ENTRY.match(line.strip()) if depth <= indent else None
            if entry:
                name = entry[1]
                arguments[name] = entry[2]
            elif name:
                arguments[name] = f"{arguments[name]} {line.strip()}".strip()
    return "\n".join(description).strip(), arguments


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except Exception as error:  # noqa: BLE001  # hints may be any expression
        raise ValueError(f"its type hints can't be read: {error}; import what they name in its module") from None


def _check(parameter: inspect.Parameter, hints: dict[str, Any]) -> None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise ValueError(f"it takes {parameter}; declare each argument by its name")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise ValueError(f"its argument `{parameter.name}` has no name to models; take out the `/` after it")
    if parameter.name not in hints:
        raise ValueError(f"its argument `{parameter.name}` has no type hint; write `{parameter.name}: str`, say")
    if isinstance(parameter.default, FieldInfo):
        name = parameter.name
        raise ValueError(f"its argument `{name}` has a Field as default; write Annotated[…, Field(…)]")  # noqa: TRY004  # all load errors are one kind


def _field(parameter: inspect.Parameter, description: str | None) -> Any:
    options: dict[str, Any] = {"alias": parameter.name}
    if description:
        options["description"] = description
    return Field(**options) if parameter.default is parameter.empty else Field(default=parameter.default, **options)
