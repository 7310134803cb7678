from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute

from ixmodal.errors import SpecError
from ixmodal.server.app import OTHER_ROUTES, V1_ROUTES
from ixmodal.server.routes.custom import routes
from ixmodal.spec.custom_endpoints import CustomEndpoint

ROUTES = [*V1_ROUTES, *OTHER_ROUTES]


def declare(path: str = "/v1/about", **fields: Any) -> CustomEndpoint:
    return CustomEndpoint.model_validate({"path": path, **fields})


async def answer(method: str, path: str, *declared: CustomEndpoint) -> httpx.Response:
    app = Starlette(routes=[*routes(declared, ROUTES), *ROUTES])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.request(method, path)


async def test_it_answers_what_is_declared() -> None:
    endpoint = declare(
        method="POST", status=201, body={"名": [1, None, 0.5]}, headers={"Cache-Control": "no-store", "x-team": "a b"}
    )
    response = await answer("POST", "/v1/about", endpoint)
    assert response.status_code == 201
    assert response.content == '{"名":[1,null,0.5]}'.encode()
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-team"] == "a b"


@pytest.mark.parametrize("body", [None, True, 0, "text", [], {}, [[1e300]], 10**30])
async def test_a_body_is_any_json(body: Any) -> None:
    assert (await answer("GET", "/v1/about", declare(body=body))).json() == body


async def test_some_statuses_have_no_body() -> None:
    response = await answer("GET", "/v1/about", declare(status=204))
    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers


async def test_methods_of_one_path_stand_side_by_side() -> None:
    declared = [declare("/about", body="got"), declare("/about", method="PUT", body="put")]
    assert (await answer("GET", "/about", *declared)).json() == "got"
    assert (await answer("PUT", "/about", *declared)).json() == "put"
    assert (await answer("HEAD", "/about", *declared)).status_code == 200
    refused = await answer("DELETE", "/about", *declared)
    assert refused.status_code == 405
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT"}


async def test_answers_do_not_share_their_headers() -> None:
    class Label:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def labelled(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message["headers"].append((b"x-label", b"1"))
                await send(message)

            await self.app(scope, receive, labelled)

    app = Label(Starlette(routes=routes([declare()], [])))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for _ in range(3):
            assert (await client.get("/v1/about")).headers.get_list("x-label") == ["1"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/health"), ("GET", "/v1/models"), ("GET", "/v1/models/a/b"), ("POST", "/v1/chat/completions")],
)
def test_what_a_built_in_route_answers_is_refused(method: str, path: str) -> None:
    with pytest.raises(SpecError) as caught:
        routes([declare("/fine"), declare(path, method=method)], ROUTES)
    assert caught.value.problems == [f"custom_endpoints.1.path: {method} {path} is built in; write another path"]


async def _never(_request: Request) -> Response:
    return PlainTextResponse("never")


def test_head_mounts_and_routes_of_any_method_count_as_built_in() -> None:
    within = [Route("/a/{rest:path}", _never), Mount("/deep", routes=[Route("/b", _never, methods=["POST"])])]
    built_in = [
        Route("/probe", _never, methods=["HEAD"]),
        Mount("/files", routes=[]),
        Mount("/v2", routes=within),
        WebSocketRoute("/socket", _never),
    ]
    for method, path in [("HEAD", "/probe"), ("GET", "/v2/a/x"), ("DELETE", "/files/a"), ("POST", "/v2/deep/b")]:
        with pytest.raises(SpecError, match=f"{method} {path} is built in"):
            routes([declare(path, method="GET" if method == "HEAD" else method)], built_in)
    free = [("GET", "/socket"), ("PUT", "/probe"), ("POST", "/v2/a/x"), ("GET", "/v2/deep/b"), ("GET", "/v2/c")]
    assert len(routes([declare(path, method=method) for method, path in free], built_in)) == len(free)


async def test_built_in_methods_of_a_path_go_on_beside_a_custom_one() -> None:
    built_in = [Mount("/v2", routes=[Route("/a", _never, methods=["POST"])])]
    app = Starlette(routes=[*routes([declare("/v2/a", body=1)], built_in), *built_in])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/v2/a")).json() == 1
        assert (await client.post("/v2/a")).text == "never"


async def test_another_method_of_a_built_in_path_is_free() -> None:
    assert (await answer("GET", "/v1/chat/completions", declare("/v1/chat/completions", body=1))).json() == 1


def test_every_problem_has_its_line() -> None:
    declared = [declare(), declare(), declare("/healthz"), declare(method="PUT")]
    with pytest.raises(SpecError) as caught:
        routes(declared, ROUTES, field="custom")
    assert caught.value.problems == [
        "custom.1: GET /v1/about is declared twice; leave one out",
        "custom.2.path: GET /healthz is built in; write another path",
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "about"},
        {"path": ""},
        {"path": "/a/"},
        {"path": "//a"},
        {"path": "/a//b"},
        {"path": "/a/../b"},
        {"path": "/./b"},
        {"path": "/a?b=1"},
        {"path": "/a#b"},
        {"path": "/a%20b"},
        {"path": "/{name}"},
        {"path": "/a b"},
        {"path": "/a\n"},
        {"path": "/" + "a" * 256},
        {"method": "get"},
        {"method": "TRACE"},
        {"status": 100},
        {"status": 199},
        {"status": 600},
        {"status": 204, "body": {}},
        {"body": float("nan")},
        {"body": [float("inf")]},
        {"body": "\ud800"},
        {"body": "x" * 1_048_576},
        {"headers": {"content-length": "3"}},
        {"headers": {"set-cookie": "a=b"}},
        {"headers": {"x-request-id": "1"}},
        {"headers": {"X-Accel-Redirect": "/etc"}},
        {"headers": {"x-a": "b\r\nset-cookie: c"}},
        {"headers": {"x-a": ""}},
        {"headers": {"x-a": "1", "X-A": "2"}},
        {"name": "x"},
    ],
)
def test_what_can_not_be_served_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        declare(**{"path": "/v1/about", **fields})


@pytest.mark.parametrize("path", ["/", "/a", "/v1/a-b_c.d~e", "/v1/a:b@c", "/..."])
def test_plain_paths_are_taken(path: str) -> None:
    assert declare(path).path == path


def test_the_declaration_travels_as_json() -> None:
    endpoint = declare(body={"a": [1]}, headers={"ETag": '"1"'})
    assert CustomEndpoint.model_validate_json(endpoint.model_dump_json()) == endpoint


@pytest.mark.parametrize("name", CustomEndpoint.model_fields)
def test_every_field_is_described(name: str) -> None:
    assert str(CustomEndpoint.model_fields[name].description).endswith(".")
