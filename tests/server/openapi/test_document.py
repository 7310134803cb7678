"""The document names every route and nothing else, and is a true OpenAPI 3.1 document."""

from __future__ import annotations

import re
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route
from starlette.testclient import TestClient

from ixmodal.server.app import routes_of
from ixmodal.server.openapi.document import document
from ixmodal.server.openapi.operation import Described
from ixmodal.spec import App, Endpoint
from ixmodal.spec.custom_endpoints import CustomEndpoint
from tests.support.contract import Contract
from tests.support.scripted import scripted_app
from tests.support.server import ROOT

API = (ROOT / "docs/api.md").read_text("utf-8")
CUSTOM = (
    CustomEndpoint(path="/about", body={"name": ["ixmodal", 1, None]}, headers={"x-team": "a"}),
    CustomEndpoint(path="/about", method="PUT", status=204),
)
SPECS = [
    App(),
    App(custom_endpoints=CUSTOM, endpoint=Endpoint(unprefixed_routes=True)),
    App(endpoint=Endpoint(api_keys=("key",))),
    App(endpoint=Endpoint(page=False)),
]
WHAT_TO_DO = """
{} has no operation, so /openapi.json can't tell of it. Declare it beside its handler:
    Described("/path", handler, Operation("name", "POST", "What it does.", AnswerType, body=BodyType, errors=ENGINE))
with the answer as a TypedDict in ixmodal/server/protocol/objects/ (see ixmodal/server/openapi/operation.py), and add a
call of it to CALLS in tests/server/openapi/test_answers.py."""


def made(spec: App) -> Contract:
    return Contract(document(routes_of(spec), guarded=bool(spec.endpoint.api_keys)))


@pytest.mark.parametrize("spec", SPECS)
def test_every_route_is_described(spec: App) -> None:
    for route in scripted_app(spec).routes:
        assert isinstance(route, Described), WHAT_TO_DO.format(route)


@pytest.mark.parametrize("spec", SPECS)
def test_the_document_has_the_routes_and_nothing_else(spec: App) -> None:
    served = {
        (method, route.path.replace(":path}", "}"))
        for route in scripted_app(spec).routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert {(method, path) for method, path, _ in made(spec).operations()} == served


@pytest.mark.parametrize("spec", SPECS)
def test_it_is_an_openapi_document(spec: App) -> None:
    OpenAPIV31SpecValidator(made(spec).document).validate()


@pytest.mark.parametrize("spec", SPECS)
def test_operations_have_names_of_their_own(spec: App) -> None:
    names = [operation["operationId"] for _, _, operation in made(spec).operations()]
    assert len(set(names)) == len(names)


def test_schemas_have_plain_names() -> None:
    """Two types of one name would be told apart by their modules, or by `-Input` and `-Output`."""
    names = list(made(App()).document["components"]["schemas"])
    assert [name for name in names if not name.isalnum()] == []


def test_keys_are_declared_where_they_are_needed() -> None:
    operations = {(method, path): operation for method, path, operation in made(SPECS[2]).operations()}
    for (_method, path), operation in operations.items():
        is_open = path in ("/health", "/healthz", "/readyz", "/", "/status", "/web/{file}")
        assert operation["security"] == ([] if is_open else [{"key": []}]), path
        assert ("401" in operation["responses"]) is not is_open, path
    assert not any("security" in operation for _, _, operation in made(App()).operations())


@pytest.mark.parametrize("spec", SPECS)
def test_it_is_served(spec: App) -> None:
    with TestClient(scripted_app(spec), headers={"authorization": "Bearer key"}) as client:
        response = client.get("/openapi.json")
        assert response.headers["content-type"] == "application/json"
        served: dict[str, Any] = response.json()
    assert served == document(routes_of(spec), guarded=bool(spec.endpoint.api_keys))


def test_custom_endpoints_answer_as_declared() -> None:
    contract = made(SPECS[1])
    with TestClient(scripted_app(SPECS[1])) as client:
        contract.check("GET", "/about", client.get("/about"))
        contract.check("PUT", "/about", client.put("/about"))


@pytest.mark.parametrize("spec", SPECS)
def test_what_follows_an_operation_is_there_and_has_those_parameters(spec: App) -> None:
    operations = {op["operationId"]: op for _, _, op in made(spec).operations()}
    links = [link for op in operations.values() for link in op["responses"].get("200", {}).get("links", {}).values()]
    assert links
    for link in links:
        named = {parameter["name"] for parameter in operations[link["operationId"]]["parameters"]}
        assert set(link["parameters"]) <= named


def test_the_table_of_routes_names_every_path() -> None:
    """docs/api.md and the document tell of the same routes; `…` there stands for what comes before."""
    table = API.split("\n\n|")[1]
    named = set(re.findall(r"`(?:[A-Z]+ )?([/…][^` ]*)`", table))
    for _, path, _ in made(App()).operations():
        shown = path.replace("{model}", "{id}")
        ends = [name.removeprefix("…") for name in named if name.startswith("…")]
        assert shown in named or any(shown.endswith(end) for end in ends), f"docs/api.md has no row of {path}"
