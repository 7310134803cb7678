"""Every way to start the server, as a user types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx

from tests.support.server import DEMO, ROOT, serve, wait_for

BODY = {"model": "demo", "temperature": 0, "messages": [{"role": "user", "content": "What is the capital of France?"}]}


def answer(url: str, key: str | None = None) -> str:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    response = httpx.post(f"{url}/v1/chat/completions", json=BODY, headers=headers, timeout=30)
    content: str = response.json()["choices"][0]["message"]["content"]
    return content


def test_uvicorn_with_two_workers() -> None:
    with serve((*DEMO, "--workers", "2")) as server:
        # Each worker has an engine of its own; ask until both have been seen ready.
        wait_for(lambda: len(server.engines()) == 2, 30)
        assert {answer(server.url) for _ in range(8)} == {"The capital of France is Paris."}


def test_uvicorn_with_reload() -> None:
    with serve((*DEMO, "--reload", "--reload-dir", "ixmodal")) as server:
        assert "Paris" in answer(server.url)


def test_serve_says_what_where_and_with_which_keys(tmp_path: Path) -> None:
    spec = tmp_path / "my.toml"
    spec.write_text('models = [{ id = "demo" }]\nendpoint = { api_keys = ["sk-very-secret"] }\n')
    with serve(("ixmodal", "serve", str(spec))) as server:
        wait_for(lambda: "curl" in server.log, 10)
        assert "demo" in server.log
        assert f"{server.url}/v1" in server.log
        assert "sk-very-secret" not in server.log
        assert httpx.get(f"{server.url}/v1/models").status_code == 401
        assert "Paris" in answer(server.url, "sk-very-secret")


def test_the_curl_that_serve_prints_answers() -> None:
    with serve(("ixmodal", "serve")) as server:
        wait_for(lambda: "curl" in server.log, 10)
        command = next(line for line in server.log.splitlines() if line.startswith("curl "))
        done = subprocess.run(["sh", "-c", f"{command} -s"], capture_output=True, text=True, timeout=30, check=True)
        assert "Paris" in json.loads(done.stdout)["choices"][0]["message"]["content"]


def test_environment_overrides_reach_the_server() -> None:
    with serve(DEMO, {"IXMODAL_LIMITS__MAX_TOKENS": "5"}) as server:
        response = httpx.post(f"{server.url}/v1/chat/completions", json={**BODY, "max_tokens": 6})
        assert response.json()["error"]["message"] == "'max_tokens' is 6, above this server's limit of 5."


def test_version_and_help() -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "ixmodal", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout

    assert re.fullmatch(r"\d+\.\d+\.\d+\n", run("--version"))
    assert "serve" in run("--help")
    assert "ixmodal/models/demo/demo.gguf" in run("pull")
