from __future__ import annotations

import math
import struct
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from ixmodal.server.protocol.rerank import similarities
from ixmodal.spec import App, Endpoint, Model
from tests.support.scripted import scripted_app
from tests.support.server import Server, wait_for

# The scripted engine's vectors count bytes: documents are as near as their letters are alike.
DOCUMENTS = ["zzzz", "abba", {"text": "aabb c"}, "zzab"]


def post(server: Server, **fields: Any) -> httpx.Response:
    body = {"model": "demo", "query": "ab", "documents": DOCUMENTS, **fields}
    return httpx.post(f"{server.url}/v1/rerank", json=body, timeout=30)


def test_documents_are_ranked_by_similarity(scripted: Server) -> None:
    answer = post(scripted).json()
    assert answer["model"] == "demo"
    assert [result["index"] for result in answer["results"]] == [1, 2, 3, 0]
    scores = [result["relevance_score"] for result in answer["results"]]
    assert scores[0] == pytest.approx(1)
    assert scores[2] == pytest.approx(2 / math.sqrt(2) / math.sqrt(6))
    assert scores[3] == 0
    assert all(set(result) == {"index", "relevance_score"} for result in answer["results"])
    tokens = sum(len(text) + 1 for text in ("ab", "zzzz", "abba", "aabb c", "zzab"))  # each with BOS
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_the_first_of_them_and_their_texts(scripted: Server) -> None:
    results = post(scripted, top_n=2, return_documents=True).json()["results"]
    assert [(result["index"], result["document"]) for result in results] == [
        (1, {"text": "abba"}),
        (2, {"text": "aabb c"}),
    ]
    assert len(post(scripted, top_n=99).json()["results"]) == 4


def test_equals_keep_their_order(scripted: Server) -> None:
    results = post(scripted, documents=["b", "ab", "ba", "ab"]).json()["results"]
    assert [result["index"] for result in results] == [1, 2, 3, 0]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": None}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": ["a", ""]}, "documents[1].text"),
        ({"documents": ["a", {"txt": "b"}]}, "documents[1].text"),
        ({"documents": [{"text": "b", "id": 1}]}, "documents[0].id"),
        ({"documents": ["a"] * 2049}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"rank_fields": ["a"]}, "rank_fields"),
    ],
)
def test_what_is_wrong_is_named(scripted: Server, fields: dict[str, Any], param: str) -> None:
    response = post(scripted, **fields)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_it_answers_without_the_prefix_too() -> None:
    spec = App(models=(Model("demo"),), endpoint=Endpoint(unprefixed_routes=True))
    with TestClient(scripted_app(spec)) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200, 20)
        body = {"model": "demo", "query": "ab", "documents": ["ab"]}
        assert client.post("/rerank", json=body).json()["results"][0]["index"] == 0


def test_cosines() -> None:
    def vector(*values: float) -> bytes:
        return struct.pack(f"<{len(values)}f", *values)

    query = vector(3, 0)
    found = similarities(query, [vector(1, 0), vector(0, 2), vector(-5, 0), vector(1, 1), vector(0, 0)])
    assert found == pytest.approx([1, 0, -1, math.sqrt(0.5), 0])


def test_the_shipped_model_ranks(demo: Server) -> None:
    body = {"model": "demo", "query": "What is the capital of France?", "documents": ["Paris", "What is the capital?"]}
    answer = httpx.post(f"{demo.url}/v1/rerank", json=body, timeout=30).json()
    assert {result["index"] for result in answer["results"]} == {0, 1}
    assert all(-1 <= result["relevance_score"] <= 1 for result in answer["results"])
