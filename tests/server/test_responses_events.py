"""The events of a stream: which, in which order, with what in them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.server.test_responses_app import FUNCTION, Fake, post, serving, stream, types


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def http(fake: Fake) -> Iterator[TestClient]:
    with serving(fake) as (http, _):
        yield http


def test_a_stream_of_text_in_exact_order(http: TestClient) -> None:
    events = stream(http, input="echo: a b")
    assert types(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    created, in_progress, added, part_added, delta, _, done, part_done, item_done, completed = events
    assert created["response"]["status"] == in_progress["response"]["status"] == "in_progress"
    assert created["response"]["output"] == []
    id = added["item"]["id"]
    assert added["item"] == {
        "id": id,
        "type": "message",
        "role": "assistant",
        "status": "in_progress",
        "content": [],
    }
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    where = {"item_id": id, "output_index": 0, "content_index": 0}
    assert part_added == {**where, "type": "response.content_part.added", "sequence_number": 3, "part": empty}
    kind = {"type": "response.output_text.delta", "sequence_number": 4}
    assert delta == {**where, **kind, "delta": "a ", "logprobs": []}
    assert done == {
        **where,
        "type": "response.output_text.done",
        "sequence_number": 6,
        "text": "a b ",
        "logprobs": [],
    }
    assert part_done["part"] == {**empty, "text": "a b "}
    assert completed["response"]["output"] == [item_done["item"]]
    assert {event["response"]["id"] for event in (created, in_progress, completed)} == {created["response"]["id"]}


def test_reasoning_comes_before_the_message(http: TestClient) -> None:
    events = stream(http, input="think: so")
    assert types(events)[2:10] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
    ]
    reasoning, message = events[-1]["response"]["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "let me see"}]
    assert (reasoning["type"], reasoning["summary"], reasoning["status"]) == ("reasoning", [], "completed")
    assert message["content"][0]["text"] == "so "
    assert [event["output_index"] for event in events if "output_index" in event] == [0] * 7 + [1] * 6


def test_calls_in_exact_order(http: TestClient) -> None:
    other = {**FUNCTION, "name": "sub"}
    events = stream(http, input="call: add sub", tools=[FUNCTION, other])
    one_call = [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert types(events) == ["created", "in_progress", *one_call, *one_call, "completed"]
    added, _, delta, done, item_done = events[2:7]
    assert added["item"]["arguments"] == ""
    assert added["item"]["status"] == "in_progress"
    assert delta["delta"] == " 1}"
    assert (done["name"], done["arguments"], done["item_id"]) == ("add", '{"a": 1}', added["item"]["id"])
    assert item_done["item"] == {
        "id": added["item"]["id"],
        "type": "function_call",
        "call_id": "call_0",
        "name": "add",
        "arguments": '{"a": 1}',
        "status": "completed",
    }
    assert [item["name"] for item in events[-1]["response"]["output"]] == ["add", "sub"]


def test_an_empty_answer_is_an_empty_message(http: TestClient) -> None:
    events = stream(http, input="echo:")
    assert types(events)[2:] == [
        "output_item.added",
        "content_part.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


def test_an_answer_that_was_cut_is_incomplete(http: TestClient) -> None:
    last = stream(http, input="cut: a")[-1]
    assert last["type"] == "response.incomplete"
    response = last["response"]
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"
    assert response["completed_at"] is None


def test_a_failure_in_the_middle_is_an_error_and_a_failed_response(http: TestClient) -> None:
    events = stream(http, input="echo: a FAIL")
    assert types(events)[-5:] == ["output_text.done", "content_part.done", "output_item.done", "error", "failed"]
    envelope = {"message": "the engine failed", "type": "server_error", "param": None, "code": "engine_error"}
    flat = {"code": "engine_error", "message": "the engine failed", "param": None}
    assert events[-2] == {"type": "error", "sequence_number": len(events) - 2, **flat, "error": envelope}
    response = events[-1]["response"]
    assert response["status"] == "failed"
    assert response["error"] == {"code": "server_error", "message": "the engine failed"}
    assert response["output"][0]["status"] == "incomplete"
    assert http.get(f"/v1/responses/{response['id']}").json() == response
    whole = post(http, input="echo: a FAIL")
    assert (whole.status_code, whole.json()["error"]) == (500, envelope)


def test_what_is_unexpected_is_not_told(http: TestClient) -> None:
    events = stream(http, input="echo: a BUG")
    assert events[-1]["type"] == "response.failed"
    assert "secret" not in json.dumps(events)


def test_refusals_keep_their_status_when_streaming(http: TestClient, fake: Fake) -> None:
    fake.longest = 0
    for streaming in (True, False):
        response = post(http, input="echo: a", stream=streaming)
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
    fake.longest, fake.busy = 10, 1
    assert post(http, input="echo: a", stream=True).status_code == 429
