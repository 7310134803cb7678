"""The server's own OpenAPI document, and whether a response is what it says."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

_METHODS = ("get", "post", "put", "patch", "delete")


class Answered(Protocol):
    """A response of any HTTP client."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...
    @property
    def text(self) -> str: ...
    def json(self) -> Any: ...


class Contract:
    """A document. Here its answers are closed: what it does not name must not be there."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = copy.deepcopy(document)
        requests = _reachable(document, [op["requestBody"] for _, _, op in self.operations() if "requestBody" in op])
        for name, schema in self.document["components"]["schemas"].items():
            if name not in requests and "properties" in schema:
                schema.setdefault("additionalProperties", False)

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Method, path and operation of each."""
        for path, item in self.document["paths"].items():
            for method in _METHODS:
                if method in item:
                    yield method.upper(), path, item[method]

    def check(self, method: str, path: str, response: Answered) -> None:
        """Assert that the response of an operation is as declared: status, headers, media type, content."""
        where = f"{method} {path} {response.status_code}"
        declared = self.document["paths"][path][method.lower()]["responses"]
        assert str(response.status_code) in declared, f"{where} is not declared: {response.text[:300]}"
        answer = self._resolved(declared[str(response.status_code)])
        for name, header in answer["headers"].items():
            header = self._resolved(header)
            assert name in response.headers or not header["required"], f"{where} lacks the header {name}"
            if name in response.headers:
                self._schema(header["schema"]).validate(response.headers[name])
        content = answer.get("content")
        if content is None:
            assert response.content == b"", where
            return
        media = response.headers["content-type"].partition(";")[0]
        assert media in content, f"{where} has the media type {media}"
        if media == "text/event-stream":
            self._check_events(where, content[media]["schema"], response.text)
        else:
            value = response.json() if media == "application/json" else response.text
            self._validate(where, content[media]["schema"], value)

    def _check_events(self, where: str, schema: dict[str, Any], text: str) -> None:
        events = [block.rpartition("data: ")[2] for block in text.split("\n\n")[:-1]]
        assert events, where
        done, data = schema["properties"]["data"]["anyOf"]
        assert events[-1] == done["const"], where
        for event in events[:-1]:
            self._validate(where, data["contentSchema"], json.loads(event))

    def _validate(self, where: str, schema: dict[str, Any], value: Any) -> None:
        errors = [f"{error.json_path}: {error.message:.300}" for error in self._schema(schema).iter_errors(value)]
        assert not errors, f"{where} is not what the schema says: {errors}"

    def _schema(self, schema: dict[str, Any]) -> Validator:
        return Draft202012Validator({**schema, "components": self.document["components"]})

    def _resolved(self, value: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = value
        if "$ref" in value:
            found = self.document
            for part in value["$ref"].removeprefix("#/").split("/"):
                found = found[part]
        return found


def _reachable(document: dict[str, Any], start: Any) -> set[str]:
    """The names of the schemas that something refers to, or that those refer to."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).removeprefix("#/components/schemas/")
            if name and name not in found:
                found.add(name)
                waiting.append(document["components"]["schemas"][name])
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found
