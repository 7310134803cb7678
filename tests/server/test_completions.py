from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.support.server import SCRIPTED, Server, serve


def post(server: Server, **fields: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/completions", json={"model": "demo", **fields}, timeout=30)


def ids(text: str) -> list[int]:
    return [3 + value for value in text.encode()]


def test_a_prompt_is_continued(scripted: Server) -> None:
    answer = post(scripted, prompt="say:hello|").json()
    assert answer["object"] == "text_completion"
    assert answer["choices"] == [{"index": 0, "text": "hello", "logprobs": None, "finish_reason": "stop"}]
    assert answer["usage"]["prompt_tokens"] == len("say:hello|") + 1  # and BOS


def test_max_tokens_defaults_to_16_and_may_be_0(scripted: Server) -> None:
    assert post(scripted, prompt="say:" + "x" * 30 + "|").json()["usage"]["completion_tokens"] == 16
    nothing = post(scripted, prompt="say:x|", max_tokens=0).json()
    assert nothing["choices"][0] == {"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}
    assert nothing["usage"]["completion_tokens"] == 0


def test_token_ids_are_taken_as_they_are(scripted: Server) -> None:
    answer = post(scripted, prompt=ids("say:hi|")).json()
    assert answer["choices"][0]["text"] == "hi"
    assert answer["usage"]["prompt_tokens"] == len("say:hi|")  # no BOS is added


@pytest.mark.parametrize("prompt", [["say:a|", "say:b|"], [ids("say:a|"), ids("say:b|")]])
def test_several_prompts_times_n_come_in_order(scripted: Server, prompt: Any) -> None:
    answer = post(scripted, prompt=prompt, n=2).json()
    assert [(choice["index"], choice["text"]) for choice in answer["choices"]] == [
        (0, "a"),
        (1, "a"),
        (2, "b"),
        (3, "b"),
    ]
    once = post(scripted, prompt=prompt).json()["usage"]
    assert answer["usage"]["prompt_tokens"] == once["prompt_tokens"]
    assert answer["usage"]["completion_tokens"] == 2 * once["completion_tokens"]


def test_stream_of_several_prompts(scripted: Server) -> None:
    text = post(scripted, prompt=["say:abc|", "say:xyz|"], stream=True, stream_options={"include_usage": True}).text
    lines = text.removesuffix("\n\n").split("\n\n")
    assert lines.pop() == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 8
    for index, expected in enumerate(("abc", "xyz")):
        own = [c["choices"][0] for c in chunks[:-1] if c["choices"][0]["index"] == index]
        assert "".join(choice["text"] for choice in own) == expected
        assert own[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [1.5]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": [99999]}, "prompt"),
        ({"prompt": ["a"] * 257}, "prompt"),
        ({"prompt": "a", "max_tokens": -1}, "max_tokens"),
        ({"prompt": "a", "max_tokens": 10**8}, "max_tokens"),
        ({"prompt": "a", "logprobs": 21}, "logprobs"),
        ({"prompt": "a", "best_of": 1, "n": 2}, "best_of"),
        ({"prompt": "a", "best_of": 2, "stream": True}, "best_of"),
        ({"prompt": "a", "best_of": 5}, "best_of"),
        ({"prompt": [5, 6], "suffix": "b"}, "suffix"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "messages": []}, "messages"),
    ],
)
def test_a_wrong_field_is_a_400_that_names_it(scripted: Server, fields: dict[str, Any], param: str) -> None:
    response = post(scripted, **fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


def test_a_long_list_of_prompts_is_worked_through() -> None:
    """Far more prompts than slots and queue: none is refused, and choices come in order."""
    spec = {"models": [{"id": "demo", "slots": 2}], "endpoint": {"max_queued": 2}, "limits": {"max_prompts": 40}}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        prompts = [f"say:{number}|" for number in range(40)]
        choices = post(server, prompt=prompts, n=2).json()["choices"]
        assert [choice["text"] for choice in choices] == [str(number // 2) for number in range(80)]
        streamed = post(server, prompt=prompts[:9], stream=True).text
        assert streamed.count('"finish_reason":"stop"') == 9
        error = post(server, prompt=[*prompts, "a"]).json()["error"]
        assert (error["param"], error["code"]) == ("prompt", "limit_exceeded")
        assert "41 entries" in error["message"]


def test_the_time_of_a_request_is_that_of_all_its_prompts() -> None:
    spec = {"models": [{"id": "demo", "slots": 1}], "limits": {"request_timeout": 1}}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        response = post(server, prompt=["!slow=0.1 say:abcd|"] * 20)
        assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
