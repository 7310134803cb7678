from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.server import Server


def post(server: Server, path: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=fields, timeout=30)


def test_a_text_and_back(demo: Server) -> None:
    text = "Zürich 你好 😀"
    found = post(demo, "/tokenize", prompt=text, return_token_strs=True).json()
    assert found["count"] == len(found["tokens"]) == len(found["token_strs"])
    assert found["max_model_len"] == 1024
    assert post(demo, "/detokenize", tokens=found["tokens"]).json()["prompt"].strip() == text


def test_special_tokens_are_left_out_on_request(demo: Server) -> None:
    bare = post(demo, "/tokenize", prompt="Hello", add_special_tokens=False).json()["tokens"]
    info = httpx.get(f"{demo.url}/tokenizer_info").json()
    [bos] = post(demo, "/tokenize", prompt=info["bos_token"], add_special_tokens=False).json()["tokens"]
    assert post(demo, "/tokenize", prompt="Hello").json()["tokens"] == [bos, *bare]
    [end] = post(demo, "/tokenize", prompt=info["eos_token"], add_special_tokens=False).json()["tokens"]
    assert end not in (bos, *bare)
    # Only alone, and only where no other token is added, is that text the token itself.
    for fields in ({"prompt": info["eos_token"]}, {"prompt": f"a{info['eos_token']}", "add_special_tokens": False}):
        assert end not in post(demo, "/tokenize", **fields).json()["tokens"]


def test_a_conversation_counts_what_chat_counts(demo: Server) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello <|im_end|>"}]
    counted = post(demo, "/tokenize", messages=messages).json()["count"]
    body = {"model": "demo", "messages": messages, "max_tokens": 1}
    usage = httpx.post(f"{demo.url}/v1/chat/completions", json=body).json()["usage"]
    assert counted == usage["prompt_tokens"]
    spelled = post(demo, "/apply-template", messages=messages).json()["prompt"]
    assert spelled.startswith("<|im_start|>system\nBe brief.<|im_end|>")
    assert spelled.endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize("strict", [True, False])
def test_tools_are_shown_as_chat_shows_them(demo: Server, strict: bool) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    tools = [{"type": "function", "function": {"name": "f", "description": "Does.", "strict": strict}}]
    found = post(demo, "/apply-template", messages=messages, tools=tools).json()["prompt"]
    assert "strict" not in found
    counted = post(demo, "/tokenize", messages=messages, tools=tools).json()["count"]
    body = {"model": "demo", "messages": messages, "tools": tools, "max_tokens": 1}
    usage = httpx.post(f"{demo.url}/v1/chat/completions", json=body).json()["usage"]
    assert counted == usage["prompt_tokens"]


def test_what_the_tokenizer_is(demo: Server) -> None:
    info = httpx.get(f"{demo.url}/tokenizer_info").json()
    assert info["context_length"] == 1024
    assert "<|im_start|>" in info["chat_template"]
    assert info["vocab_size"] > 300
    assert info["eos_token"] == "<|im_end|>"


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, "prompt"),
        ("/tokenize", {"prompt": "a", "tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        (
            "/tokenize",
            {"messages": [{"role": "user", "content": "a"}], "add_special_tokens": False},
            "add_special_tokens",
        ),
        ("/detokenize", {"tokens": [10**9]}, "tokens"),
        ("/detokenize", {"tokens": ["a"]}, "tokens[0]"),
        ("/detokenize", {}, "tokens"),
    ],
)
def test_a_wrong_field_is_a_400_that_names_it(demo: Server, path: str, fields: dict[str, Any], param: str) -> None:
    response = post(demo, path, **fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
