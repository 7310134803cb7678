"""What a route says about itself: a `Described` route holds one `Operation` for each of its methods.

    Described("/v1/things", things,
              Operation("listThings", "GET", "All things.", ThingList, query=ListQuery),
              Operation("createThing", "POST", "A new thing.", Thing, body=CreateThing, errors=ENGINE))

The route's methods are those of its operations, so neither can be without the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

ENGINE = (404, 429, 503, 504)
"""Errors of operations that ask a model: it is unknown, busy, not ready or dead, or too slow."""
STORE = (503,)
"""Errors of operations on what is stored: the store can't be read or written."""


@dataclass(frozen=True)
class Text:
    """An answer that is text and not JSON; `values` are all that it may be."""

    values: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ("text/plain",)


@dataclass(frozen=True)
class RawSchema:
    """An answer whose JSON schema is written out."""

    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Operation:
    """One method of a route.

    Args:
        id: a name of its own among all operations.
        method: the HTTP method.
        summary: one sentence.
        answer: what a success holds: a type that pydantic knows, as JSON; `Text`; `RawSchema`; None for no content.
        body: the type of the JSON body, where there is one.
        body_required: False if the body may be left out.
        query: the type whose fields are the query parameters.
        events: the type of each event, where the answer may be a stream instead.
        errors: statuses of errors beside those that every operation has (see `Document`).
        status: the status of a success.
        others: answers of other statuses that are not the error envelope.
        links: operations that follow, by id, and where each of their parameters is found (runtime expressions,
            https://spec.openapis.org/oas/v3.1.1#runtime-expressions).
        headers: names and descriptions of headers that a success may have.
        public: True if no API key is needed.
    """

    id: str
    method: Method
    summary: str
    answer: Any = None
    body: type[BaseModel] | None = None
    body_required: bool = True
    query: type[BaseModel] | None = None
    events: Any = None
    errors: tuple[int, ...] = ()
    status: int = 200
    others: Mapping[int, Any] = field(default_factory=dict)
    links: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    public: bool = False

    def renamed(self, suffix: str) -> Operation:
        """The same operation, and what follows it, under other ids."""
        links = {f"{id}{suffix}": parameters for id, parameters in self.links.items()}
        return replace(self, id=f"{self.id}{suffix}", links=links)


class Described(Route):
    """A route that knows its operations. GET answers HEAD as well."""

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]], *operations: Operation) -> None:
        super().__init__(path, endpoint, methods=[operation.method for operation in operations])
        self.operations = operations

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As every route; who serves the request notes which it was."""
        match, found = super().matches(scope)
        return match, found if match is Match.NONE else {**found, "route": self}

    def without_prefix(self, prefix: str) -> Described:
        """The same route without the first part of its path."""
        operations = [operation.renamed("Unprefixed") for operation in self.operations]
        return Described(self.path.removeprefix(prefix), self.endpoint, *operations)
