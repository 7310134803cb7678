from __future__ import annotations

import math
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.support.server import Server


def post(server: Server, **fields: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/embeddings", json={"model": "demo", **fields}, timeout=30)


def ids(text: str) -> list[int]:
    return [3 + value for value in text.encode()]


def test_all_forms_give_the_same_vectors(scripted: Server) -> None:
    # The scripted engine counts bytes: "aab" is (2, 1) in two of its dimensions, normalised.
    expected = [2 / math.sqrt(5), 1 / math.sqrt(5)]
    for form in ("aab", ["aab"], ids("aab"), [ids("aab")]):
        answer = post(scripted, input=form).json()
        [item] = answer["data"]
        assert (item["object"], item["index"]) == ("embedding", 0)
        assert [item["embedding"][ord("a")], item["embedding"][ord("b")]] == pytest.approx(expected)
        assert answer["usage"]["prompt_tokens"] in (3, 4)  # a text gets a BOS
        assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"]


def test_inputs_keep_their_order(scripted: Server) -> None:
    letters = "abcdefghij"
    data = post(scripted, input=list(letters)).json()["data"]
    assert [max(range(256), key=item["embedding"].__getitem__) for item in data] == [ord(letter) for letter in letters]
    assert [item["index"] for item in data] == list(range(10))


def test_the_sdk_reads_base64_as_floats(scripted: Server) -> None:
    # The SDK asks for base64 unless told otherwise; its strict mode then refuses what it asked for.
    with OpenAI(base_url=f"{scripted.url}/v1", api_key="none") as sdk:
        by_sdk = sdk.embeddings.create(model="demo", input="hello").data[0].embedding
    assert by_sdk == pytest.approx(post(scripted, input="hello").json()["data"][0]["embedding"], abs=1e-6)
    assert isinstance(post(scripted, input="hello", encoding_format="base64").json()["data"][0]["embedding"], str)


def test_dimensions_cut_and_renormalise(scripted: Server) -> None:
    vector = post(scripted, input="abz", dimensions=ord("b") + 1).json()["data"][0]["embedding"]
    assert len(vector) == ord("b") + 1
    assert math.fsum(value * value for value in vector) == pytest.approx(1)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": 257}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "colour": 1}, "colour"),
        ({"input": [99999]}, "prompt"),
    ],
)
def test_a_wrong_field_is_a_400_that_names_it(scripted: Server, fields: dict[str, Any], param: str) -> None:
    response = post(scripted, **fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


def test_the_shipped_models_embeddings_mean_something(client: OpenAI) -> None:
    texts = ["What is the capital of France?", "Tell me the capital of France.", "Repeat after me: red blue"]
    france, again, other = (
        item.embedding for item in client.embeddings.create(model="demo", input=texts, encoding_format="float").data
    )

    def likeness(left: list[float], right: list[float]) -> float:
        return math.fsum(a * b for a, b in zip(left, right, strict=True))

    assert likeness(france, france) == pytest.approx(1, abs=1e-5)
    assert likeness(france, again) > likeness(france, other)
