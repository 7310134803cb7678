"""What real servers log of what the real client does: one line a request, no secrets, no prompts."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.support.server import DEMO, ROOT, Server, free_port, serve, wait_for

SPEC = {
    "endpoint": {"keys": [{"name": "team", "key": "sk-of-the-team"}]},
    "models": [{"id": "demo", "slots": 1}],
}
QUESTION = "What is the capital of France?"
ENV = {"IXMODAL_SPEC": json.dumps(SPEC)}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve(DEMO, ENV) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="sk-of-the-team", max_retries=0) as client:
        yield client


def lines(server: Server, found: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The JSON lines of requests that `found` picks, once there is one."""

    def picked() -> list[dict[str, Any]]:
        logged = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
        return [line for line in logged if line["event"] == "request" and found(line)]

    wait_for(picked, 10, lambda: server.log)
    return picked()


def ask(client: OpenAI, id: str, **more: Any) -> Any:
    return client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": QUESTION}],
        extra_headers={"x-request-id": id},
        **more,
    )


def test_an_answer_has_one_line_that_says_who_asked_what_and_how_it_went(server: Server, client: OpenAI) -> None:
    usage = ask(client, "whole").usage
    [line] = lines(server, lambda line: line["request_id"] == "whole")
    assert (line["key"], line["model"], line["served_by"]) == ("team", "demo", "demo")
    assert (line["endpoint"], line["status"], line["outcome"]) == ("/v1/chat/completions", 200, "stop")
    assert (line["prompt_tokens"], line["completion_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert 0 <= line["queue_seconds"] <= line["first_token_seconds"] < line["seconds"]
    assert (line["level"], line["logger"]) == ("info", "ixmodal.access")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", line["timestamp"])
    assert server.log.count('"whole"') == 1
    assert '"POST /v1' not in server.log  # uvicorn's own line


def test_streams_errors_and_hang_ups_have_theirs(server: Server, client: OpenAI) -> None:
    list(ask(client, "streamed", stream=True, max_tokens=2))
    with pytest.raises(openai.BadRequestError):
        ask(client, "wrong", temperature=-1)
    stream = ask(client, "left", stream=True, temperature=1.5, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    assert httpx.get(f"{server.url}/v1/models", headers={"x-request-id": "nobody"}).status_code == 401
    expected = {"streamed": (200, "length"), "wrong": (400, "invalid_value")}
    expected |= {"left": (200, "cancelled"), "nobody": (401, "missing_api_key")}
    found = {}
    for name in expected:
        [line] = lines(server, lambda line: line["request_id"] == name)  # noqa: B023  # called at once
        found[name] = (line["status"], line["outcome"])
    assert found == expected


def test_no_key_and_no_prompt_is_logged(server: Server, client: OpenAI) -> None:
    ask(client, "silent")
    with pytest.raises(openai.AuthenticationError):
        OpenAI(base_url=f"{server.url}/v1", api_key="sk-wrong", max_retries=0).models.list()
    httpx.get(f"{server.url}/v1/models?api_key=sk-in-the-query", headers={"authorization": "Bearer sk-of-the-team"})
    lines(server, lambda line: line["outcome"] == "invalid_api_key")
    assert not [word for word in ("sk-of-the-team", "sk-wrong", "sk-in-the-query", "France") if word in server.log]


def test_probes_are_not_logged(server: Server, client: OpenAI) -> None:
    httpx.get(f"{server.url}/health")
    ask(client, "after-the-probe")
    lines(server, lambda line: line["request_id"] == "after-the-probe")
    assert "/health" not in server.log


def test_prompts_are_logged_where_the_spec_says_so_and_bounded() -> None:
    with serve(DEMO, {"IXMODAL_ENDPOINT__LOG_PROMPTS": "64"}) as server:
        with OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            ask(client, "told")
        [line] = lines(server, lambda line: line["request_id"] == "told")
    assert len(line["body"]) == 64
    assert QUESTION[:10] in line["body"]


def test_uvicorns_own_switch_silences_ours() -> None:
    with serve((*DEMO, "--no-access-log"), {"IXMODAL_LOG_FORMAT": "json"}) as server:
        httpx.get(f"{server.url}/v1/models")
        server.stop()
        assert "model demo is ready" in server.log
        assert "/v1/models" not in server.log


def test_in_a_terminal_people_read_sentences() -> None:
    port = free_port()
    ours, theirs = pty.openpty()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("IXMODAL_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "ixmodal", "serve", "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**environ, "COLUMNS": "300", "TERM": "xterm"},
    )
    os.close(theirs)
    try:
        wait_for(lambda: is_ready(port), 60)
        httpx.get(f"http://127.0.0.1:{port}/v1/models%0AERROR", headers={"x-request-id": "mine"})
        text = read_until(ours, "mine")
    finally:
        process.terminate()
        process.wait(20)
        os.close(ours)
    [line] = [line for line in text.splitlines() if "mine" in line]
    assert re.search(r"GET /v1/models\\nERROR 404 unknown_url total \d\.\d{3} s", line), line


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def read_until(terminal: int, word: str) -> str:
    text, deadline = "", time.monotonic() + 10
    while word not in text:
        assert time.monotonic() < deadline, text
        text += os.read(terminal, 65_536).decode("utf-8", "replace")
    return re.sub(r"\x1b\[[\d;]*m", "", text)
