"""Custom endpoints: what the spec declares beside the built-in routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount

from ixmodal.errors import SpecError
from ixmodal.server.openapi.operation import Described, Operation, RawSchema
from ixmodal.spec.custom_endpoints import NO_CONTENT, CustomEndpoint


def routes(
    custom: Sequence[CustomEndpoint], built_in: Sequence[BaseRoute], *, field: str = "custom_endpoints"
) -> list[Described]:
    """One route a path, to be put before the built-in ones: a mount among them takes all that is below its path.

    Args:
        custom: what is declared.
        built_in: the routes that are there already.
        field: the spec's field, for messages.

    Raises:
        SpecError: a declared endpoint answers what a built-in route or another one does. Every problem has its line.
    """
    by_path: dict[str, dict[str, CustomEndpoint]] = {}
    problems: list[str] = []
    for index, endpoint in enumerate(custom):
        declared = by_path.setdefault(endpoint.path, {})
        if endpoint.method in declared:
            problems.append(f"{field}.{index}: {endpoint.method} {endpoint.path} is declared twice; leave one out")
        elif taken := _taken(built_in, endpoint):
            problems.append(f"{field}.{index}.path: {taken} {endpoint.path} is built in; write another path")
        declared[endpoint.method] = endpoint
    if problems:
        raise SpecError("the spec", problems)
    return [_route(path, declared) for path, declared in by_path.items()]


def _taken(built_in: Sequence[BaseRoute], endpoint: CustomEndpoint) -> str | None:
    """The method under which a built-in route answers already; GET takes HEAD along."""
    for method in ("GET", "HEAD") if endpoint.method == "GET" else (endpoint.method,):
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": endpoint.path,
            "root_path": "",
            "headers": [],
        }
        if _answers(built_in, scope):
            return method
    return None


def _answers(built_in: Sequence[BaseRoute], scope: dict[str, Any]) -> bool:
    for route in built_in:
        match, below = route.matches(scope)
        if match is not Match.FULL:
            continue
        # Of a mount the routes within decide; where they can't be seen, it answers everything.
        if not (isinstance(route, Mount) and route.routes) or _answers(route.routes, {**scope, **below}):
            return True
    return False


def _route(path: str, declared: dict[str, CustomEndpoint]) -> Described:
    contents = {method: (endpoint, endpoint.content) for method, endpoint in declared.items()}

    async def custom_endpoint(request: Request) -> Response:
        endpoint, content = contents["GET" if request.method == "HEAD" else request.method]
        media_type = "application/json" if content else None
        return Response(content, endpoint.status, dict(endpoint.headers), media_type)

    return Described(path, custom_endpoint, *(_operation(endpoint) for endpoint in declared.values()))


def _operation(endpoint: CustomEndpoint) -> Operation:
    """What the document says of it: the answer is just this one."""
    return Operation(
        f"custom:{endpoint.method}:{endpoint.path}",
        endpoint.method,
        "A fixed answer, declared in the spec.",
        None if endpoint.status in NO_CONTENT else RawSchema({"const": endpoint.body}),
        status=endpoint.status,
        headers=dict.fromkeys(endpoint.headers, "Declared in the spec."),
    )
