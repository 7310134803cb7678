from __future__ import annotations

import json
from typing import Any

import pytest
import respx
from starlette.testclient import TestClient

from ixmodal.engine.request import Usage
from ixmodal.runtime import Runtime
from ixmodal.server.app import create_app
from ixmodal.server.upstream.usage import usage_in
from ixmodal.spec.sources import parse_spec

URL = "https://big.example.com/v1"
LIMIT = 1_000_000


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"usage": {"prompt_tokens": 3, "completion_tokens": 2}}', Usage(3, 2)),
        (b'{"usage":{"prompt_tokens":3,"total_tokens":3}}', Usage(3)),
        (b'{"usage": {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}}}', Usage(3, 0, 1)),
        (
            b'{"usage": {"prompt_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 4}}}',
            Usage(3, reasoning_tokens=4),
        ),
        (b'{"usage": {"prompt_tokens": 3, "prompt_tokens_details": 4}}', None),
        (b'{"usage": null}', None),
        (b'{"usage": {"tokens": 3}}', None),
        (b'{"text": "\\"usage\\": {"}', None),
        (b'"usage": {', None),
        (b"", None),
    ],
)
def test_usage_of_an_answer(body: bytes, usage: Usage | None) -> None:
    assert usage_in(body) == usage


@pytest.mark.parametrize(
    ("chunks", "cost"),
    [
        ([{"usage": None}, {"usage": {"prompt_tokens": 5, "completion_tokens": 4}}], 9),
        ([{"choices": []}, {"choices": []}, {"choices": []}], 3),
    ],
    ids=["told", "counted"],
)
def test_streams_and_whole_answers_cost_their_caller(
    respx_mock: respx.MockRouter, chunks: list[Any], cost: int
) -> None:
    keys = [{"name": "k", "key": "k", "tokens_per_minute": LIMIT}]
    spec = parse_spec({"models": [{"id": "big", "upstream": URL}], "endpoint": {"keys": keys}})
    stream = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    body = {"model": "big", "messages": [{"role": "user", "content": "hi"}]}
    head = {"authorization": "Bearer k"}
    with TestClient(create_app(Runtime(spec))) as client:
        respx_mock.post(f"{URL}/chat/completions").respond(
            200, content=stream, headers={"content-type": "text/event-stream"}
        )
        client.post("/v1/chat/completions", json={**body, "stream": True}, headers=head)
        respx_mock.post(f"{URL}/chat/completions").respond(
            200, json={"usage": {"prompt_tokens": 10, "completion_tokens": 20}}
        )
        answer = client.post("/v1/chat/completions", json=body, headers=head)
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) == LIMIT - cost - 30
