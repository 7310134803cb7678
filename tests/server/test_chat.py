from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.support.server import SCRIPTED, Server, serve, wait_for


def ask(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": [{"role": "user", "content": text}], **fields}


def post(server: Server, body: Any) -> httpx.Response:
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    return httpx.post(f"{server.url}/v1/chat/completions", content=content, timeout=30)


def events(server: Server, body: dict[str, Any]) -> list[Any]:
    text = post(server, {**body, "stream": True}).text
    assert text.endswith("\n\n")
    lines = text.removesuffix("\n\n").split("\n\n")
    assert all(line.startswith("data: ") and "\r" not in line for line in lines)
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_whole_answer_has_every_field(scripted: Server) -> None:
    answer = post(scripted, ask("say:Hello 你好")).json()
    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello 你好", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    usage = answer["usage"]
    assert usage["completion_tokens"] == len("Hello 你好".encode()) + 1  # one token a byte, and the end
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_stream_has_role_deltas_reason_in_order(scripted: Server) -> None:
    chunks = events(scripted, ask("say:Hé", stream_options={"include_usage": True}))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert all("role" not in delta for delta in deltas[1:])
    assert "".join(delta.get("content", "") for delta in deltas) == "Hé"
    assert deltas[-1] == {}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 4
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1


def test_stream_without_usage_has_no_usage_key(scripted: Server) -> None:
    assert all("usage" not in chunk for chunk in events(scripted, ask("say:a")))


def test_choices_open_in_order_and_each_ends_once(scripted: Server) -> None:
    chunks = events(scripted, ask("say:abc", n=3, stream_options={"include_usage": True}))
    choices = [chunk["choices"][0] for chunk in chunks[:-1]]
    assert [choice["index"] for choice in choices[:3]] == [0, 1, 2]
    assert all(choice["delta"] == {"role": "assistant", "content": ""} for choice in choices[:3])
    for index in range(3):
        own = [choice for choice in choices if choice["index"] == index]
        assert "".join(choice["delta"].get("content", "") for choice in own) == "abc"
        assert [choice["finish_reason"] for choice in own].count("stop") == 1
    one = events(scripted, ask("say:abc", stream_options={"include_usage": True}))[-1]["usage"]
    assert chunks[-1]["usage"]["prompt_tokens"] == one["prompt_tokens"]
    assert chunks[-1]["usage"]["completion_tokens"] == 3 * one["completion_tokens"]


def test_length_is_said_when_the_limit_ends_an_answer(scripted: Server) -> None:
    for field in ("max_tokens", "max_completion_tokens"):
        choice = post(scripted, ask("say:abcdef", **{field: 3})).json()["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("abc", "length")


@pytest.mark.parametrize(("stop", "expected"), [("c", "ab"), (["。", "de"], "abc"), (["x"], "abcdef。g")])
def test_stop_strings_end_an_answer_and_are_not_returned(scripted: Server, stop: Any, expected: str) -> None:
    choice = post(scripted, ask("say:abcdef。g", stop=stop)).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (expected, "stop")


def test_stop_tokens_end_an_answer(scripted: Server) -> None:
    assert (
        post(scripted, ask("say:abc", stop_token_ids=[3 + ord("b")])).json()["choices"][0]["message"]["content"] == "a"
    )


def test_ignore_eos_goes_on_and_min_tokens_delays_the_end(scripted: Server) -> None:
    body = ask("say:ab", max_tokens=9, temperature=0)
    assert post(scripted, body).json()["usage"]["completion_tokens"] == 3
    assert post(scripted, {**body, "ignore_eos": True}).json()["usage"]["completion_tokens"] == 9
    assert post(scripted, {**body, "min_tokens": 6}).json()["usage"]["completion_tokens"] > 6


def test_logit_bias_forces_a_token(scripted: Server) -> None:
    body = ask("say:ab", max_tokens=3, temperature=0, logit_bias={str(3 + ord("z")): 100})
    assert post(scripted, body).json()["choices"][0]["message"]["content"] == "zzz"


def test_null_means_unset(scripted: Server) -> None:
    fields = ("temperature", "top_p", "stop", "seed", "n", "max_tokens", "logit_bias", "stream", "tools", "logprobs")
    assert post(scripted, ask("say:a", **dict.fromkeys(fields))).status_code == 200


def test_text_parts_and_developer_role(scripted: Server) -> None:
    parts = [{"type": "text", "text": "say:a"}, {"type": "text", "text": "b"}]
    body = {"model": "demo", "messages": [{"role": "developer", "content": "x"}, {"role": "user", "content": parts}]}
    assert post(scripted, body).json()["choices"][0]["message"]["content"] == "ab"


def test_cached_tokens_are_those_really_reused(scripted: Server) -> None:
    text = "say:something rather long that only this test says"
    first, second = (post(scripted, ask(text)).json()["usage"] for _ in range(2))
    assert first["prompt_tokens_details"]["cached_tokens"] < first["prompt_tokens"] / 2
    assert second["prompt_tokens_details"]["cached_tokens"] == second["prompt_tokens"] - 1


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": "1"}, "temperature"),
    ({"top_p": 1.5}, "top_p"),
    ({"frequency_penalty": 3}, "frequency_penalty"),
    ({"presence_penalty": -3}, "presence_penalty"),
    ({"n": 0}, "n"),
    ({"n": 5}, "n"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"max_tokens": 10**9}, "max_tokens"),
    ({"max_completion_tokens": 10**9}, "max_completion_tokens"),
    ({"seed": 2**63}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"stop": ""}, "stop[0]"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"logit_bias": {"5": 101}}, "logit_bias[5]"),
    ({"logit_bias": {"99999": 1}}, "logit_bias"),
    ({"stop_token_ids": [-1]}, "stop_token_ids"),
    ({"min_p": 2}, "min_p"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": "a"}] * 9}, "messages"),
    ({"messages": [{"role": "wizard", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "a", "colour": "red"}]}, "messages[0].colour"),
    ({"stream": "yes"}, "stream"),
    ({"frobnicate": 1}, "frobnicate"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "user", "content": "a", "tool_calls": []}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": {"type": "json_object"}, "regex": "a"}, "regex"),
    ({"response_format": {"type": "json_object"}, "min_tokens": 1}, "min_tokens"),
    ({"response_format": {"type": "json_object"}, "ignore_eos": True}, "ignore_eos"),
    ({"regex": "("}, "regex"),
    ({"grammar": "start: nope"}, "grammar"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
    ({"typical_p": 0}, "typical_p"),
    ({"mirostat": 1}, "mirostat"),
    ({"mirostat_tau": 3}, "mirostat_tau"),
    ({"audio": {}}, "audio"),
    ({"modalities": ["audio"]}, "modalities"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"web_search_options": {}}, "web_search_options"),
]


@pytest.mark.parametrize(("fields", "param"), BAD_FIELDS, ids=lambda value: json.dumps(value)[:50])
def test_a_wrong_field_is_a_400_that_names_it(scripted: Server, fields: dict[str, Any], param: str | None) -> None:
    response = post(scripted, {**ask("say:a"), **fields})
    error = response.json()["error"]
    assert response.status_code == 400, error
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


def test_stream_options_without_stream_is_refused(scripted: Server) -> None:
    response = post(scripted, ask("say:a", stream_options={"include_usage": True}))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "stream_options"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b'{"model": "demo", "messages": "\\ud800"}', b"[" * 9999]
)
def test_what_is_no_json_object_is_a_400(scripted: Server, body: bytes) -> None:
    response = post(scripted, body)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_unknown_model_is_404_and_says_what_there_is(scripted: Server) -> None:
    response = post(scripted, {**ask("a"), "model": "gpt-9"})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    assert "demo" in response.json()["error"]["message"]


def test_refusals_of_the_engine_keep_their_status_when_streaming(scripted: Server) -> None:
    response = post(scripted, ask("x" * 5000, stream=True))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


def test_engine_errors_are_honest_and_short(scripted: Server) -> None:
    response = post(scripted, ask("!nan"))
    assert response.status_code == 500
    assert "logits" in response.json()["error"]["message"]
    assert "Traceback" not in response.text


def test_an_error_in_the_middle_becomes_an_error_event(scripted: Server) -> None:
    text = post(scripted, ask("!crash-after=3 say:abcdef", stream=True)).text
    received = [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line.startswith("data: {")]
    assert "".join(item["choices"][0]["delta"].get("content", "") for item in received[:-1]) == "abc"
    assert received[-1]["error"]["code"] == "engine_died"
    assert set(received[-1]["error"]) == {"message", "type", "param", "code"}
    assert post(scripted, ask("say:well")).json()["choices"][0]["message"]["content"] == "well"


def test_the_sdk_raises_on_an_error_event(scripted_client: OpenAI) -> None:
    stream = scripted_client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": "!crash-after=2 say:abcd"}], stream=True
    )
    with pytest.raises(Exception, match="engine process died"):
        list(stream)


def test_the_choices_of_a_request_are_one_in_the_queue() -> None:
    """More choices than slots and queue: none is refused, neither at an idle server nor behind another request."""
    spec = {"models": [{"id": "demo", "slots": 1}], "endpoint": {"max_queued": 1}}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server, ThreadPoolExecutor() as pool:
        many = pool.submit(post, server, ask("!slow=0.25 say:ab", n=3))
        wait_for(lambda: server.health()["running"] == 1, 10)
        behind = pool.submit(post, server, ask("say:behind"))
        wait_for(lambda: server.health()["queued"] >= 1, 10)
        assert post(server, ask("say:refused")).status_code == 429
        texts = [choice["message"]["content"] for choice in many.result().json()["choices"]]
        assert texts == ["ab"] * 3
        assert behind.result().json()["choices"][0]["message"]["content"] == "behind"


def test_the_time_of_a_request_is_that_of_all_its_choices() -> None:
    spec = {"models": [{"id": "demo", "slots": 1}], "limits": {"request_timeout": 1}}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        response = post(server, ask("!slow=0.05 say:abcdef", n=8))
        assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
