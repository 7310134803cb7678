"""How a server stops: readiness first, then no new requests, running ones to their end, exit code 0."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.test_faults import stream
from tests.support.hub import Hub, Repository
from tests.support.server import DEMO, SCRIPTED, Server, launch, serve, wait_for

SERVE_SCRIPTED = ("tests.support.scripted_cli", "serve")
SLOW = "!slow=0.1 say:ten tokens"


def spec(**limits: Any) -> dict[str, str]:
    return {"IXMODAL_SPEC": json.dumps({"models": [{"id": "demo", "slots": 1}], "limits": limits})}


def ask(server: Server, text: str) -> httpx.Response:
    body = {"model": "demo", "messages": [{"role": "user", "content": text}]}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=30)


def is_speaking(server: Server) -> bool:
    tokens: int = server.health()["tokens"]
    return tokens > 2


@contextmanager
def stopping(server: Server, text: str, by: signal.Signals = signal.SIGTERM) -> Iterator[Future[Any]]:
    """Stream an answer, and send the signal in the middle of it."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(stream, server, text)
        wait_for(lambda: is_speaking(server), 10)
        server.process.send_signal(by)
        yield answer


@pytest.mark.parametrize("entry", [SCRIPTED, SERVE_SCRIPTED], ids=["uvicorn", "serve"])
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_readiness_falls_new_requests_are_refused_and_streams_end(entry: tuple[str, ...], by: signal.Signals) -> None:
    with serve(entry, spec()) as server:
        engines = server.engines()
        with stopping(server, SLOW, by) as answer, httpx.Client(base_url=server.url) as kept:
            wait_for(lambda: kept.get("/readyz").status_code == 503, 5)
            assert kept.get("/healthz").status_code == 200
            assert (kept.get("/health").status_code, kept.get("/health").json()["status"]) == (503, "draining")
            refused = ask(server, "say:late")  # on a connection of its own: the port is still open
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_stopping")
            assert int(refused.headers["retry-after"]) > 0
            assert refused.headers["connection"] == "close"
            assert kept.get("/v1/models").status_code == 503
            assert not answer.done()
            assert answer.result(10) == ("ten tokens", None, "stop")
        assert server.process.wait(10) == 0, server.log
        _, alive = psutil.wait_procs(engines, timeout=5)
        assert not alive
        assert "Traceback" not in server.log


def test_what_takes_longer_than_the_limit_gets_an_honest_error() -> None:
    limits = {"drain_timeout": 0.5}
    with serve(SCRIPTED, spec(**limits)) as server, ThreadPoolExecutor(2) as pool:
        with stopping(server, "!slow=0.1 !forever say:x") as answer:
            said, error, reason = answer.result(10)
        assert said.startswith("x")
        assert (error["code"], reason) == ("server_stopping", None)
        assert server.process.wait(10) == 0, server.log
    with serve(SCRIPTED, spec(**limits)) as server, ThreadPoolExecutor(2) as pool:
        running, queued = (pool.submit(ask, server, "!slow=0.1 !forever say:x") for _ in range(2))
        wait_for(lambda: server.health()["queued"] == 1, 10)
        server.process.terminate()
        for answer in (running.result(10), queued.result(10)):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_stopping")
            assert "retry-after" in answer.headers
        assert server.process.wait(10) == 0, server.log


def test_a_body_that_never_arrives_does_not_hold_up_the_exit() -> None:
    with serve(SCRIPTED, spec(drain_timeout=0.3)) as server:

        def body() -> Iterator[bytes]:
            yield b"{"
            server.process.terminate()
            wait_for(lambda: server.process.poll() is not None, 10)
            yield b"}"

        url = f"{server.url}/v1/chat/completions"
        answer = httpx.post(url, content=body(), headers={"content-length": "2"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_stopping")
        assert server.process.wait(10) == 0, server.log


@pytest.mark.parametrize("entry", [SCRIPTED, SERVE_SCRIPTED], ids=["uvicorn", "serve"])
def test_a_second_signal_ends_at_once(entry: tuple[str, ...]) -> None:
    with serve(entry, spec()) as server:
        engines = server.engines()
        with stopping(server, "!slow=0.1 !forever say:x") as answer:
            time.sleep(0.5)
            assert server.process.poll() is None
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(5) == 128 + signal.SIGTERM
            with pytest.raises(httpx.TransportError):
                answer.result(10)
        _, alive = psutil.wait_procs(engines, timeout=5)
        assert not alive


def test_the_same_signal_from_terminal_and_parent_is_one() -> None:
    with serve(SCRIPTED, spec()) as server, stopping(server, SLOW, signal.SIGINT) as answer:
        server.process.send_signal(signal.SIGTERM)
        assert answer.result(10) == ("ten tokens", None, "stop")
        assert server.process.wait(10) == 0


@pytest.mark.parametrize("entry", [DEMO, ("ixmodal", "serve")], ids=["uvicorn", "serve"])
def test_a_download_does_not_hold_up_the_exit(entry: tuple[str, ...], tmp_path: Path) -> None:
    with Hub({"owner/large": Repository({"model.gguf": b"GGUF" * 1_000_000})}) as hub:
        hub.pause = 0.5
        models = [{"id": "demo", "source": "hf://owner/large", "file": "model.gguf"}]
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "IXMODAL_SPEC": json.dumps({"models": models})}
        with launch(entry, environment) as server:
            wait_for(lambda: hub.sent > 0 and "Uvicorn running" in server.log, 30, lambda: server.log)
            began = time.monotonic()
            server.process.terminate()
            assert server.process.wait(15) == 0, server.log
            assert time.monotonic() - began < 10
