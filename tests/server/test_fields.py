"""Every field that the SDK can send is honoured, refused by name, or documented as without effect."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import httpx
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsBase as TextParams
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.responses.response_create_params import ResponseCreateParamsBase as ResponsesParams
from pydantic import BaseModel

from ixmodal.server.protocol.chat import ChatRequest
from ixmodal.server.protocol.completions import CompletionRequest
from ixmodal.server.protocol.embeddings import EmbeddingRequest
from ixmodal.server.protocol.rerank import RerankRequest
from ixmodal.server.protocol.responses.request import ResponsesRequest
from tests.support.server import DEMO, ROOT, Server, serve
from tools.random_model import SHAPES, write_random_llama

FAMILIES: list[tuple[Any, type[BaseModel]]] = [
    (ChatParams, ChatRequest),
    (TextParams, CompletionRequest),
    (EmbeddingCreateParams, EmbeddingRequest),
    (ResponsesParams, ResponsesRequest),
    (object, RerankRequest),
]
API = (ROOT / "docs/api.md").read_text("utf-8")


def known(request: type[BaseModel]) -> set[str]:
    return set(request.model_fields) | set(getattr(request, "refused", {}))


@pytest.mark.parametrize(("params", "request_type"), FAMILIES)
def test_every_field_of_the_sdk_is_known(params: Any, request_type: type[BaseModel]) -> None:
    assert set(getattr(params, "__annotations__", ())) <= known(request_type)


@pytest.mark.parametrize(("_params", "request_type"), FAMILIES)
def test_the_table_names_every_field(_params: Any, request_type: type[BaseModel]) -> None:
    assert {name for name in known(request_type) if f"`{name}`" not in API} == set()


def test_the_table_says_which_fields_have_no_effect() -> None:
    for title, request_type in (("Chat and text completions", ChatRequest), ("Responses", ResponsesRequest)):
        section = API.split(f"## {title}\n")[1].split("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("|") and "| no effect" in line]
        named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
        assert named == request_type.without_effect


@pytest.mark.parametrize("name", sorted(ChatRequest.refused))
def test_refused_fields_are_named(scripted: Server, name: str) -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": "a"}], name: {"x": 1}}
    error = httpx.post(f"{scripted.url}/v1/chat/completions", json=body).json()["error"]
    assert (error["param"], error["code"]) == (name, "unsupported_parameter")


PLAIN: dict[str, Any] = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Tell me a joke"}],
    "seed": 1,
    "temperature": 1.3,
    "max_tokens": 12,
}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CHANGES: dict[str, Any] = {
    "frequency_penalty": {"frequency_penalty": 2, "temperature": 0, "ignore_eos": True, "max_tokens": 60},
    "presence_penalty": {"presence_penalty": 2, "temperature": 0, "ignore_eos": True, "max_tokens": 60},
    "repetition_penalty": {"repetition_penalty": 2, "temperature": 0, "ignore_eos": True, "max_tokens": 60},
    "grammar": {"grammar": 'start: "x"'},
    "ignore_eos": {"ignore_eos": True, "logit_bias": {"260": 100}},
    "logit_bias": {"logit_bias": {"300": 100}},
    "logprobs": {"logprobs": True},
    "max_completion_tokens": {"max_completion_tokens": 3, "max_tokens": None},
    "max_tokens": {"max_tokens": 3},
    "messages": {"messages": [{"role": "user", "content": "Hello"}]},
    "min_p": {"min_p": 1.0},
    "min_tokens": {"min_tokens": 60, "max_tokens": 60, "stop_token_ids": list(range(300, 364))},
    "mirostat": {"mirostat": 2, "mirostat_tau": 0.1, "temperature": 2},
    "mirostat_eta": {"mirostat": 2, "mirostat_tau": 3.0, "mirostat_eta": 1.0, "temperature": 2, "max_tokens": 60},
    "mirostat_tau": {"mirostat": 2, "mirostat_tau": 0.1, "temperature": 2},
    "n": {"n": 2},
    "regex": {"regex": "x"},
    "response_format": {"response_format": {"type": "json_object"}},
    "seed": {"seed": 2, "temperature": 2},
    "stop": {"stop": [" ", "e", "a", "o"]},
    "stop_token_ids": {"stop_token_ids": list(range(300, 364)), "max_tokens": 60},
    "stream": {"stream": True},
    "stream_options": {"stream": True, "stream_options": {"include_usage": True}},
    "temperature": {"temperature": 2, "seed": 3},
    "tool_choice": {"tools": [FUNCTION], "tool_choice": "required", "max_tokens": 60},
    "tools": {"tools": [FUNCTION]},
    "top_k": {"top_k": 1, "temperature": 2},
    "top_logprobs": {"logprobs": True, "top_logprobs": 1},
    "top_p": {"top_p": 0.01, "temperature": 2},
    "typical_p": {"typical_p": 0.01, "temperature": 2},
}
TESTED_ELSEWHERE = {"model", "parallel_tool_calls", "truncation"}


def test_every_honoured_field_is_in_the_list_below() -> None:
    honoured = set(ChatRequest.model_fields) - ChatRequest.without_effect - TESTED_ELSEWHERE
    assert honoured <= CHANGES.keys()


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A model of random weights: it prefers nothing, so every field of sampling shows."""
    shape = asdict(SHAPES["tiny"]) | {"context_length": 4096}
    path = write_random_llama(tmp_path_factory.mktemp("noise") / "noise.gguf", **shape)
    with serve(DEMO, {"IXMODAL_SPEC": json.dumps({"models": [{"id": "demo", "source": f"file://{path}"}]})}) as server:
        yield server


def outcome(server: Server, fields: dict[str, Any]) -> str:
    response = httpx.post(f"{server.url}/v1/chat/completions", json={**PLAIN, **fields}, timeout=60)
    assert response.status_code == 200, response.text
    text = re.sub(r'"(id|created|cached_tokens)": ?("[^"]*"|\d+)', "", response.text)
    return re.sub(r'"prompt_tokens_details":\{[^}]*\}', "", text)


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_an_honoured_field_changes_the_answer(noise: Server, name: str) -> None:
    """With the field and without it, all else equal and seeded, the answers differ."""
    fields = CHANGES[name]
    base = {key: value for key, value in fields.items() if key != name}
    if name in ("mirostat", "logprobs"):
        base = {key: value for key, value in base.items() if not key.startswith((name, "top_logprobs"))}
    if name == "tools":
        assert prompt_tokens(noise, fields) > prompt_tokens(noise, {})
        return
    if name == "stream":
        base = {}
    assert outcome(noise, fields) != outcome(noise, base)


def prompt_tokens(server: Server, fields: dict[str, Any]) -> int:
    response = httpx.post(f"{server.url}/v1/chat/completions", json={**PLAIN, **fields}, timeout=60)
    count: int = json.loads(response.text)["usage"]["prompt_tokens"]
    return count


@pytest.mark.parametrize("name", sorted(ChatRequest.without_effect))
def test_a_field_without_effect_changes_nothing(noise: Server, name: str) -> None:
    values: dict[str, Any] = {
        "metadata": {"a": "b"},
        "prediction": {"type": "content", "content": "x"},
        "prompt_cache_options": {},
        "store": True,
    }
    assert outcome(noise, {name: values.get(name, "auto")}) == outcome(noise, {})
