"""The OpenAPI 3.1 document of an application, made from its routes (https://spec.openapis.org/oas/v3.1.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.routing import BaseRoute

from ixmodal import __version__
from ixmodal.server.openapi.errors import ALWAYS, OF_STATUS, STATUSES, Headers, headers, statuses_of
from ixmodal.server.openapi.operation import Described, Operation, RawSchema, Text
from ixmodal.server.openapi.schemas import Schemas, Side
from ixmodal.server.protocol.objects.errors import ErrorAnswer

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_DESCRIPTION = (
    "OpenAI-compatible serving of open language models. Unknown fields are refused, null means unset, and every error "
    "on every path has the same envelope. An answer that may be streamed is one where the request says `stream: true`."
)


def document(routes: Sequence[BaseRoute], *, guarded: bool) -> dict[str, Any]:
    """The document of all described routes.

    Args:
        routes: the application's; those that are not `Described` are left out.
        guarded: True if API keys are needed.
    """
    described = [route for route in routes if isinstance(route, Described)]
    operations = [operation for route in described for operation in route.operations]
    schemas = Schemas([("answer", ErrorAnswer), *_types(operations)])
    paths: dict[str, Any] = {}
    for route in described:
        path = paths.setdefault(_PARAMETER.sub(r"{\1}", route.path), {})
        for operation in route.operations:
            path[operation.method.lower()] = _operation(operation, route, schemas, guarded=guarded)
    errors = sorted({status for operation in operations for status in statuses_of(operation, guarded=guarded)})
    components: dict[str, Any] = {
        "schemas": schemas.components,
        "responses": {f"Error{status}": _error(status, schemas) for status in errors},
        "headers": headers(ALWAYS),
    }
    if guarded:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    info = {"title": "ixmodal", "version": __version__, "description": _DESCRIPTION}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}


def _types(operations: Sequence[Operation]) -> Iterator[tuple[Side, Any]]:
    for operation in operations:
        for asked in (operation.body, operation.query):
            if asked is not None:
                yield "request", asked
        for told in (operation.answer, operation.events, *operation.others.values()):
            if told is not None and not isinstance(told, Text | RawSchema):
                yield "answer", told


def _operation(operation: Operation, route: Described, schemas: Schemas, *, guarded: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"operationId": operation.id, "summary": operation.summary}
    parameters = [*_path_parameters(route.path), *_query_parameters(operation, schemas)]
    if parameters:
        shown["parameters"] = parameters
    if operation.body:
        content = {"application/json": {"schema": schemas.of("request", operation.body)}}
        shown["requestBody"] = {"required": operation.body_required, "content": content}
    success = _success(operation, schemas)
    others = {str(status): _answer(told, schemas) for status, told in operation.others.items()}
    errors = {
        str(status): {"$ref": f"#/components/responses/Error{status}"}
        for status in statuses_of(operation, guarded=guarded)
    }
    shown["responses"] = {str(operation.status): success, **errors, **others}
    if guarded:
        shown["security"] = [] if operation.public else [{"key": []}]
    return shown


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = _PARAMETER.findall(path)
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in names
    ]


def _query_parameters(operation: Operation, schemas: Schemas) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = schemas.of("request", operation.query)
    if reference := schema.get("$ref"):
        schema = schemas.components[reference.rpartition("/")[2]]
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": kind}
        for name, kind in schema["properties"].items()
    ]


def _success(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    shown = _answer(operation.answer, schemas)
    own: Headers = {name: (text, {"type": "string"}, False) for name, text in operation.headers.items()}
    shown["headers"] |= headers(own)
    if operation.links:
        shown["links"] = {
            id: {"operationId": id, "parameters": dict(parameters)} for id, parameters in operation.links.items()
        }
    if operation.events is not None:
        shown.setdefault("content", {})["text/event-stream"] = {"schema": _event(operation, schemas)}
    return shown


def _event(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    """Each event, its fields as OpenAPI 3.2 has them (https://spec.openapis.org/oas/v3.2.0#event-streams)."""
    data = {
        "contentMediaType": "application/json",
        "contentSchema": schemas.of("answer", operation.events),
    }
    return {
        "description": "Each event of the stream; the data of the last one is `[DONE]`.",
        "type": "object",
        "required": ["data"],
        "properties": {"data": {"type": "string", "anyOf": [{"const": "[DONE]"}, data]}, "event": {"type": "string"}},
    }


def _answer(told: Any, schemas: Schemas) -> dict[str, Any]:
    shown: dict[str, Any] = {"description": "The answer.", "headers": _always()}
    if isinstance(told, Text):
        values = {"enum": list(told.values)} if told.values else {}
        shown["content"] = {media: {"schema": {"type": "string", **values}} for media in told.media_types}
    elif isinstance(told, RawSchema):
        shown["content"] = {"application/json": {"schema": dict(told.schema)}}
    elif told is not None:
        shown["content"] = {"application/json": {"schema": schemas.of("answer", told)}}
    return shown


def _error(status: int, schemas: Schemas) -> dict[str, Any]:
    return {
        "description": STATUSES[status],
        "headers": _always() | headers(OF_STATUS.get(status, {})),
        "content": {"application/json": {"schema": schemas.of("answer", ErrorAnswer)}},
    }


def _always() -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ALWAYS}
