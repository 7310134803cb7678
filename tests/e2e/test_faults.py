"""What a dying engine costs, and whom. Real processes, real signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.server import DEMO, ROOT, SCRIPTED, Server, launch, serve, wait_for
from tools.random_model import SHAPES, write_random_llama


def stream(server: Server, text: str) -> tuple[str, dict[str, Any] | None, str | None]:
    """Stream an answer. Returns its text, the error event if any, and the finish reason."""
    body = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": text}]}
    said, error, reason = "", None, None
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=30) as response:
        assert response.status_code == 200, response.read()
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            data = json.loads(line.removeprefix("data: "))
            if "error" in data:
                error = data["error"]
                continue
            said += data["choices"][0]["delta"].get("content") or ""
            reason = data["choices"][0]["finish_reason"] or reason
    return said, error, reason


def test_kill_9_under_four_streams() -> None:
    spec = {"models": [{"id": "demo", "slots": 4}]}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server, ThreadPoolExecutor(8) as pool:
        [engine] = server.engines()
        before = server.health()["tokens"]
        running = [pool.submit(stream, server, f"!slow=0.05 !forever say:{i}abc") for i in range(4)]
        wait_for(lambda: server.health()["tokens"] > before + 20, 20)
        queued = [pool.submit(stream, server, f"say:{i} queued") for i in range(4)]
        wait_for(lambda: server.health()["queued"] == 4, 20)
        engine.kill()
        killed = time.monotonic()
        after: Future[Any] = pool.submit(stream, server, "say:after")
        for i, (said, error, reason) in enumerate(future.result() for future in running):
            assert said.startswith(f"{i}abc")
            assert reason is None
            assert error is not None
            assert error["code"] == "engine_died"
            assert "SIGKILL" in error["message"]
        assert [future.result() for future in queued] == [(f"{i} queued", None, "stop") for i in range(4)]
        assert after.result() == ("after", None, "stop")
        assert time.monotonic() - killed < 3
        assert server.process.poll() is None
        assert server.health()["restarts"] == 1
        assert (server.health()["running"], server.health()["queued"]) == (0, 0)


def test_a_request_that_has_said_nothing_is_tried_once_more() -> None:
    spec = {"models": [{"id": "demo", "slots": 1}]}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server, ThreadPoolExecutor(1) as pool:
        [engine] = server.engines()
        # Bytes of a character that is not whole yet: tokens were made, but no text was sent.
        request = pool.submit(stream, server, "!slow=0.4 say:好")
        wait_for(lambda: server.health()["running"] == 1, 10)
        engine.kill()
        assert request.result() == ("好", None, "stop")
        assert server.health()["restarts"] == 1


def test_a_hung_engine_is_replaced() -> None:
    spec = {"models": [{"id": "demo", "slots": 1}], "limits": {"progress_timeout": 0.6}}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        body = {"model": "demo", "messages": [{"role": "user", "content": "!hang"}]}
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_died")
        assert answer.headers["x-should-retry"] == "false"
        assert stream(server, "say:well") == ("well", None, "stop")


@pytest.mark.parametrize("entry", [DEMO, ("ixmodal", "serve")], ids=["uvicorn", "serve"])
def test_an_engine_that_keeps_dying_ends_the_process(entry: tuple[str, ...]) -> None:
    spec = {"models": [{"id": "demo"}], "limits": {"max_restarts": 1}}
    with serve(entry, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        for _ in range(2):
            wait_for(lambda: server.process.poll() is not None or bool(server.engines()), 20)
            for engine in server.engines():
                engine.kill()
                psutil.wait_procs([engine], timeout=5)
        assert server.process.wait(20) == 1
        assert "died 2 times in a row" in server.log


def test_the_engine_does_not_outlive_its_server() -> None:
    with serve(DEMO) as server:
        engines = server.engines()
        assert len(engines) == 1
        server.process.kill()
        _, alive = psutil.wait_procs(engines, timeout=5)
        assert not alive


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_streams_finish(signal_: signal.Signals) -> None:
    with (
        serve(SCRIPTED, {"IXMODAL_SPEC": '{"models": [{"id": "demo", "slots": 1}]}'}) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        engines = server.engines()
        answer = pool.submit(stream, server, "!slow=0.05 say:a longer answer")
        wait_for(lambda: server.health()["tokens"] > 2, 10)
        # Both signals reach the whole group, as from a terminal.
        os.killpg(server.process.pid, signal_)
        assert answer.result() == ("a longer answer", None, "stop")
        assert server.process.wait(10) == 0
        _, alive = psutil.wait_procs(engines, timeout=5)
        assert not alive


def bad_files(folder: Path) -> dict[str, tuple[dict[str, Any], str]]:
    tiny = asdict(SHAPES["tiny"])
    whole = write_random_llama(folder / "whole.gguf", **tiny)
    data = whole.read_bytes()
    (folder / "cut.gguf").write_bytes(data[: len(data) // 2])
    (folder / "noise.gguf").write_bytes(b"GGUF" + os.urandom(4096))
    (folder / "text.gguf").write_bytes(b"<html>not found</html>" * 10)
    write_random_llama(folder / "other.gguf", **tiny, **{"general.architecture": "mamba"})
    return {
        "truncated": ({"source": f"file://{folder}/cut.gguf"}, "damaged or incomplete"),
        "noise": ({"source": f"file://{folder}/noise.gguf"}, "damaged or incomplete"),
        "text": ({"source": f"file://{folder}/text.gguf"}, "not a GGUF file"),
        "missing": ({"source": f"file://{folder}/nothing.gguf"}, "does not exist"),
        "checksum": ({"source": f"file://{whole}", "sha256": "0" * 64}, "sha256"),
        "architecture": ({"source": f"file://{folder}/other.gguf"}, "mamba"),
        "template": ({"source": f"file://{whole}", "chat_template": "{% if %}"}, "chat template"),
    }


@pytest.mark.parametrize("entry", [DEMO, ("ixmodal", "serve")], ids=["uvicorn", "serve"])
def test_weights_that_cant_be_served_end_the_start_with_one_line(entry: tuple[str, ...], tmp_path: Path) -> None:
    for name, (fields, words) in bad_files(tmp_path).items():
        spec = {"models": [{"id": "demo", **fields}]}
        with launch(entry, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
            code = server.process.wait(30)
            lines = [
                line
                for line in server.log.splitlines()
                if re.match('ixmodal: |error|CRITICAL|.*"level":"critical"', line)
            ]
            assert code == 1, (name, server.log)
            assert len(lines) == 1, (name, server.log)
            assert words in lines[0], (name, server.log)
            assert "Traceback" not in server.log


def test_a_wrong_spec_ends_the_start_with_its_problems() -> None:
    for entry in (DEMO, ("ixmodal", "serve")):
        with launch(entry, {"IXMODAL_SPEC": '{"endpoint": {"max_queud": 1}}'}) as server:
            assert server.process.wait(30) == 1
            assert "endpoint.max_queud: no such field; did you mean max_queued?" in server.log
            assert "Traceback" not in server.log


def test_a_failed_start_says_so_without_the_server() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import ixmodal.asgi"],
        cwd=ROOT,
        env={**os.environ, "IXMODAL_SPEC": "/nowhere/spec.toml"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("ixmodal: /nowhere/spec.toml")
