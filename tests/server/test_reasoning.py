"""Thoughts before answers of all kinds, and how their tokens are counted. The engine speaks a byte a token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.server import SCRIPTED, Server, serve

ROLES = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
ASSISTANT = "{{ '<|im_start|>assistant\n' }}"
OPENS = ROLES + ASSISTANT + "{{ '<think>\n' }}"
MAY = ROLES + ASSISTANT + "{# <think> #}"
SKIPPED = "#" * len("<think>\n")
"""What the script has to begin with where the prompt ends with the tag: the engine takes that for said already."""
NUMBER = {"type": "integer", "minimum": 0, "maximum": 99}
SCHEMA = {"type": "object", "properties": {"a": NUMBER}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
CALL = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    models = [{"id": "opens", "chat_template": OPENS}, {"id": "may", "chat_template": MAY}]
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps({"models": models})}) as server:
        yield server


def chat(server: Server, model: str, said: str, **fields: Any) -> dict[str, Any]:
    said = SKIPPED + said if model == "opens" else said
    body = {"model": model, "messages": [{"role": "user", "content": f"say:{said}"}], "max_tokens": 300, **fields}
    response = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=30)
    assert response.status_code == 200, response.text
    if not fields.get("stream"):
        return dict(response.json())
    chunks = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    texts = {key: "".join(delta.get(key) or "" for delta in deltas) for key in ("reasoning_content", "content")}
    return {"choices": [{"message": texts}], "usage": chunks[-1]["usage"]}


def thought_tokens(answer: dict[str, Any]) -> int:
    count: int = answer["usage"]["completion_tokens_details"]["reasoning_tokens"]
    return count


STREAM = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize("fields", [{}, STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("model", "said", "thought", "content", "tokens"),
    [
        ("opens", "Let me see.</think>Paris", "Let me see.", "Paris", len("Let me see.</think>")),
        ("opens", "你好</think>é", "你好", "é", len("你好</think>".encode())),
        ("opens", "never closed", "never closed", "", len("never closed")),
        ("may", "<think>Hm</think> Paris", "Hm", "Paris", len("<think>Hm</think>")),
        ("may", "Paris <think>", "", "Paris <think>", 0),
    ],
)
def test_thought_and_answer(
    server: Server, fields: dict[str, Any], model: str, said: str, thought: str, content: str, tokens: int
) -> None:
    answer = chat(server, model, said, **fields)
    message = answer["choices"][0]["message"]
    assert (message.get("reasoning_content", ""), message["content"]) == (thought, content)
    assert thought_tokens(answer) == tokens
    assert answer["usage"]["completion_tokens"] == len(said.encode()) + 1


@pytest.mark.parametrize(("model", "opening"), [("opens", ""), ("may", "<think>")])
def test_a_thought_may_come_before_what_is_constrained(server: Server, model: str, opening: str) -> None:
    said = opening + 'a { thought</think>{"a": 12}'
    answer = chat(server, model, said, response_format=FORMAT)
    message = answer["choices"][0]["message"]
    assert (message["reasoning_content"], json.loads(message["content"])) == ("a { thought", {"a": 12})
    assert thought_tokens(answer) == len(opening + "a { thought</think>")


@pytest.mark.parametrize(("model", "said"), [("opens", "hm</think>nonsense"), ("may", "nonsense")])
def test_what_follows_a_thought_is_constrained(server: Server, model: str, said: str) -> None:
    choice = chat(server, model, said, response_format=FORMAT)["choices"][0]
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"])["a"], int)
    assert "nonsense" not in choice["message"]["content"]
    assert choice["message"]["content"].strip()[:1] in ("", "{")


def test_a_thought_that_does_not_end_is_cut(server: Server) -> None:
    choice = chat(server, "opens", "on and on", response_format=FORMAT, max_tokens=40)["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("length", "")
    assert choice["message"]["reasoning_content"].startswith("on and on")


@pytest.mark.parametrize(("model", "opening"), [("opens", ""), ("may", "<think>")])
def test_a_thought_may_come_before_a_forced_call(server: Server, model: str, opening: str) -> None:
    said = f"{opening}I should <tool_call> it</think>{CALL}"
    choice = chat(server, model, said, tools=[TOOL], tool_choice="required")["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["reasoning_content"] == "I should <tool_call> it"
    [call] = choice["message"]["tool_calls"]
    assert 0 <= json.loads(call["function"]["arguments"])["a"] <= 99


@pytest.mark.parametrize(("model", "opening"), [("opens", ""), ("may", "<think>")])
def test_a_thought_may_come_before_a_strict_call(server: Server, model: str, opening: str) -> None:
    strict = {**TOOL, "function": {**TOOL["function"], "strict": True}}
    wrong = CALL.replace("1", '"one"')
    said = f"{opening}<tool_call></think>Hi {wrong}"
    choice = chat(server, model, said, tools=[strict], parallel_tool_calls=False)["choices"][0]
    assert choice["message"]["reasoning_content"] == "<tool_call>"
    assert choice["message"]["content"] == "Hi"
    for call in choice["message"]["tool_calls"]:
        assert 0 <= json.loads(call["function"]["arguments"])["a"] <= 99


def test_responses_count_them_too(server: Server) -> None:
    body = {"model": "opens", "input": f"say:{SKIPPED}Hm</think>Paris", "max_output_tokens": 50}
    response = httpx.post(f"{server.url}/v1/responses", json=body, timeout=30).json()
    reasoning, message = response["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "Hm"}]
    assert message["content"][0]["text"] == "Paris"
    assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": len("Hm</think>")}
