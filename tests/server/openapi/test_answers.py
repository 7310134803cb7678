"""Real answers of every operation are what `/openapi.json` says: whole ones, streams and errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.testclient import TestClient

from ixmodal.spec import AgentSpec, App, Limits, Model
from tests.support.contract import Contract
from tests.support.scripted import scripted_app

SPEC = App(
    models=(Model("demo", aliases=("other",)), Model("lazy", load="request")),
    limits=Limits(max_body_bytes=100_000),
    agents=(AgentSpec(id="helper", model="demo"),),
)
CHAT: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "say:four"}]}
TEXT: dict[str, Any] = {"model": "demo", "prompt": "say:a|", "max_tokens": 4}
ASK: dict[str, Any] = {"model": "demo", "input": "say:four"}
FUNCTION = {"name": "f", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
ITEMS = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "phase": "final_answer"},
    {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "b"}]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "d"}]},
]
FAILS: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "say:x !fail"}]}


@dataclass(frozen=True)
class Call:
    """A request, and the status that it has."""

    method: str
    path: str
    body: Any = None
    status: int = 200
    query: str = ""


CALLS = [
    Call("POST", "/v1/chat/completions", CHAT),
    Call("POST", "/v1/chat/completions", {**CHAT, "model": "helper"}),
    Call("POST", "/v1/chat/completions", {**CHAT, "n": 2, "logprobs": True, "top_logprobs": 2}),
    Call("POST", "/v1/chat/completions", {**CHAT, "stream": True, "logprobs": True}),
    Call("POST", "/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}),
    Call(
        "POST",
        "/v1/chat/completions",
        {**CHAT, "tools": [TOOL], "tool_choice": "required", "max_tokens": 40},
    ),
    Call("POST", "/v1/chat/completions", {**CHAT, "stream": True, "tools": [TOOL]}),
    Call("POST", "/v1/chat/completions", {}, 400),
    Call("POST", "/v1/chat/completions", {**CHAT, "user": "x" * 100_000}, 413),
    Call("POST", "/v1/chat/completions", {**CHAT, "model": "nope"}, 404),
    Call("POST", "/v1/chat/completions", FAILS, 500),
    Call("POST", "/v1/chat/completions", {**FAILS, "stream": True}),
    Call("POST", "/v1/completions", {**TEXT, "echo": True, "logprobs": 2}),
    Call("POST", "/v1/completions", {**TEXT, "stream": True, "stream_options": {"include_usage": True}}),
    Call("POST", "/v1/completions", TEXT | {"prompt": []}, 400),
    Call("POST", "/v1/embeddings", {"model": "demo", "input": ["a", "b"]}),
    Call("POST", "/v1/embeddings", {"model": "demo", "input": [[70, 71]], "encoding_format": "base64"}),
    Call(
        "POST",
        "/v1/rerank",
        {"model": "demo", "query": "a", "documents": ["b", {"text": "a"}], "return_documents": True},
    ),
    Call("POST", "/v1/rerank", {"model": "demo", "query": "a", "documents": []}, 400),
    Call("POST", "/v1/responses", ASK),
    Call("POST", "/v1/responses", {**ASK, "input": ITEMS, "top_logprobs": 2, "user": "u", "stream": True}),
    Call("POST", "/v1/responses", {**ASK, "max_output_tokens": 16, "reasoning": {"effort": "low"}, "input": "b" * 40}),
    Call("POST", "/v1/responses", {**ASK, "input": "say:x !fail", "stream": True}),
    Call("POST", "/v1/responses", {**ASK, "tools": [{"type": "function", **FUNCTION}], "tool_choice": "auto"}),
    Call("POST", "/v1/responses", {**ASK, "background": True}),
    Call("POST", "/v1/responses", {**ASK, "previous_response_id": "resp_x"}, 400),
    Call("GET", "/v1/responses/{response}"),
    Call("GET", "/v1/responses/{response}", query="?stream=true"),
    Call("GET", "/v1/responses/nope", status=404),
    Call("GET", "/v1/responses/{response}/input_items"),
    Call("POST", "/v1/responses/{response}/cancel", status=400),
    Call("POST", "/v1/responses/{background}/cancel"),
    Call("POST", "/v1/responses/{finished}/cancel", status=409),
    Call("DELETE", "/v1/responses/{response}"),
    Call("POST", "/v1/conversations", {"items": ITEMS, "metadata": {"a": "b"}}),
    Call("POST", "/v1/conversations"),
    Call("GET", "/v1/conversations/{conversation}"),
    Call("POST", "/v1/conversations/{conversation}", {"metadata": {"a": "c"}}),
    Call("POST", "/v1/conversations/{conversation}/items", {"items": ITEMS}),
    Call("GET", "/v1/conversations/{conversation}/items", query="?limit=2&order=asc"),
    Call("GET", "/v1/conversations/{conversation}/items", status=400, query="?limit=0"),
    Call("GET", "/v1/conversations/{conversation}/items/rs_1"),
    Call("DELETE", "/v1/conversations/{conversation}/items/rs_1"),
    Call("DELETE", "/v1/conversations/{conversation}"),
    Call("GET", "/v1/models"),
    Call("GET", "/v1/models/other"),
    Call("GET", "/v1/models/a/b", status=404),
    Call("POST", "/tokenize", {"prompt": "a", "return_token_strs": True}),
    Call("POST", "/tokenize", {"messages": CHAT["messages"]}),
    Call("POST", "/detokenize", {"tokens": [70, 71]}),
    Call("POST", "/apply-template", {"messages": CHAT["messages"]}),
    Call("GET", "/tokenizer_info", query="?model=other"),
    Call("GET", "/tokenizer_info", query="?colour=red", status=400),
    Call("GET", "/models"),
    Call("GET", "/models/demo/endpoint"),
    Call("GET", "/models/nope/endpoint", status=404),
    Call("GET", "/models/events", query="?seconds=0.1"),
    Call("POST", "/models/load", {"model": "demo"}),
    Call("POST", "/models/load", {"model": "nope"}, 404),
    Call("POST", "/models/unload", {"model": "lazy"}),
    Call("GET", "/models/lazy/endpoint", status=404),
    Call("POST", "/models/load", {"model": "lazy", "wait": False}, 202),
    Call("GET", "/discovery"),
    Call("GET", "/health"),
    Call("GET", "/"),
    Call("GET", "/status"),
    Call("GET", "/web/icon.svg"),
    Call("GET", "/web/nothing.js", status=404),
    Call("GET", "/healthz"),
    Call("GET", "/readyz"),
    Call("GET", "/openapi.json"),
    Call("GET", "/metrics"),
    Call("GET", "/slots"),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        app = scripted_app(SPEC)
        # From loopback to loopback: what admins may do is called as well.
        ends = {"base_url": "http://127.0.0.1", "client": ("127.0.0.1", 50_000)}
        with TestClient(app, raise_server_exceptions=False, **ends) as client:
            while client.get("/readyz").status_code != 200:
                pass
            yield client


@pytest.fixture(scope="module")
def contract(client: TestClient) -> Contract:
    return Contract(client.get("/openapi.json").json())


@pytest.fixture(scope="module")
def ids(client: TestClient) -> dict[str, str]:
    """Things that were made before."""
    background = {**ASK, "input": "!forever say:on and on", "background": True}
    finished = client.post("/v1/responses", json={**ASK, "background": True}).json()["id"]
    assert client.get(f"/v1/responses/{finished}?stream=true").text.endswith("[DONE]\n\n")
    return {
        "finished": finished,
        "response": client.post("/v1/responses", json=ASK).json()["id"],
        "background": client.post("/v1/responses", json=background).json()["id"],
        "conversation": client.post("/v1/conversations", json={"items": ITEMS}).json()["id"],
    }


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {call.path}{call.query} {call.status}")
def test_an_answer_is_what_the_document_says(
    client: TestClient, contract: Contract, ids: dict[str, str], call: Call
) -> None:
    response = client.request(call.method, call.path.format(**ids) + call.query, json=call.body)
    assert response.status_code == call.status, response.text
    contract.check(call.method, template_of(contract, call), response)


def test_every_operation_is_called_above_with_success(contract: Contract) -> None:
    """Whoever adds a route adds a call of it, so that its answer is held to its type."""
    called = {(call.method, template_of(contract, call)) for call in CALLS if call.status < 300}
    assert {(method, path) for method, path, _ in contract.operations()} == called


def test_every_stream_is_called_above(contract: Contract) -> None:
    streams = {
        path for _, path, op in contract.operations() if "text/event-stream" in op["responses"]["200"]["content"]
    }
    asked = {
        template_of(contract, call)
        for call in CALLS
        if "stream" in (call.body or {}) or call.path == "/models/events" or "stream" in call.query
    }
    assert streams == asked


def template_of(contract: Contract, call: Call) -> str:
    """The path of the document that a call's path is an instance of."""
    parts = call.path.strip("/").split("/")
    for path in contract.document["paths"]:
        names = path.strip("/").split("/")
        rest = path.endswith("{model}") and len(parts) > len(names)
        if (len(names) == len(parts) or rest) and all(
            name == part or name.startswith("{") for name, part in zip(names, parts, strict=False)
        ):
            return str(path)
    raise AssertionError(f"{call.path} is no path of the document")
