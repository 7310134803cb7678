from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.server import SCRIPTED, Server, serve, wait_for

LIMITS = {
    "max_body_bytes": 2048,
    "body_timeout": 1,
    "queue_timeout": 1.5,
    "request_timeout": 2,
    "write_timeout": 1,
}


@pytest.fixture(scope="module")
def tight() -> Iterator[Server]:
    """One slot, a queue of one, short limits."""
    spec = {"models": [{"id": "demo", "slots": 1}], "endpoint": {"max_queued": 1}, "limits": LIMITS}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        yield server


def chat(server: Server, text: str, **fields: Any) -> httpx.Response:
    body = {"model": "demo", "messages": [{"role": "user", "content": text}], **fields}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=30)


def raw(server: Server, head: str, body: bytes = b"") -> bytes:
    """Send bytes as they are; returns the response up to where the server closes or is silent for 4 s."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=4) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        received = b""
        while b"}}" not in received and (data := connection.recv(65_536)):
            received += data
        return received


def connect(server: Server, body: dict[str, Any]) -> socket.socket:
    """Send a chat request and return the connection, unread, with a small receive buffer."""
    content = json.dumps(body).encode()
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection


def idle(server: Server) -> bool:
    health = server.health()
    return bool(health["running"] == 0 and health["queued"] == 0)


def test_a_body_over_the_limit_is_413_however_it_is_declared(tight: Server) -> None:
    assert chat(tight, "x" * 3000).status_code == 413
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
    declared = raw(tight, head + "Content-Length: 99999999999")
    assert b" 413 " in declared
    chunked = raw(tight, head + "Transfer-Encoding: chunked", b"fff\r\n" + b"x" * 4095 + b"\r\n")
    assert b" 413 " in chunked
    assert b'"code":"request_too_large"' in chunked


def test_a_body_that_does_not_come_is_408(tight: Server) -> None:
    began = time.monotonic()
    answer = raw(tight, "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100", b'{"model"')
    assert b" 408 " in answer
    assert b"connection: close" in answer
    assert time.monotonic() - began < 4


def test_a_full_queue_is_429_with_retry_after(tight: Server) -> None:
    with ThreadPoolExecutor(5) as pool:
        answers = [future.result() for future in [pool.submit(chat, tight, "!slow=0.1 say:abcd") for _ in range(5)]]
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200, 200, 429, 429, 429]
    for answer in answers:
        if answer.status_code == 429:
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert answer.json()["error"]["code"] == "server_busy"


def test_a_request_has_a_deadline(tight: Server) -> None:
    answer = chat(tight, "!slow=0.1 !forever say:abc")
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    assert answer.headers["x-should-retry"] == "false"
    streamed = chat(tight, "!slow=0.1 !forever say:abc", stream=True).text
    assert '"code":"deadline_exceeded"' in streamed
    wait_for(lambda: idle(tight), 5)


def test_a_wait_in_the_queue_has_a_limit(tight: Server) -> None:
    running = threading.Thread(target=chat, args=(tight, "!slow=0.1 !forever say:abc"))
    running.start()
    wait_for(lambda: tight.health()["running"] == 1, 5)
    answer = chat(tight, "say:a")
    assert answer.status_code in (200, 429)
    running.join()


@pytest.mark.parametrize("stream", [True, False])
def test_a_disconnect_frees_the_slot(tight: Server, stream: bool) -> None:
    before = tight.health()["tokens"]
    text = "!slow=0.05 !forever say:abc"
    with connect(tight, {"model": "demo", "stream": stream, "messages": [{"role": "user", "content": text}]}):
        wait_for(lambda: tight.health()["tokens"] > before + 2, 5)
    wait_for(lambda: idle(tight), 1)
    tokens = tight.health()["tokens"]
    assert chat(tight, "say:a").status_code == 200
    assert tight.health()["tokens"] == tokens + 2  # nothing of the abandoned answer went on


def test_a_disconnect_in_the_queue_leaves_it(tight: Server) -> None:
    running = threading.Thread(target=chat, args=(tight, "!slow=0.1 !forever say:abc"))
    running.start()
    wait_for(lambda: tight.health()["running"] == 1, 5)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{tight.url}/v1/completions", json={"model": "demo", "prompt": "a"}, timeout=0.3)
    wait_for(lambda: tight.health()["queued"] == 0, 1)
    running.join()


def test_a_client_that_stops_reading_is_given_up(tight: Server) -> None:
    body = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "!forever say:abcdefgh"}]}
    with connect(tight, body):
        wait_for(lambda: tight.health()["running"] == 1, 5)
        wait_for(lambda: idle(tight), 6)


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/nope", "/v1/chat/completions"])
def test_every_answer_tells_browsers_to_be_careful(tight: Server, path: str) -> None:
    headers = httpx.get(f"{tight.url}{path}").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["cache-control"] == "no-store"


def nested(opening: str, closing: str, depth: int) -> str:
    return opening * depth + "1" + closing * depth


@pytest.mark.parametrize("depth", [300, 900])
@pytest.mark.parametrize(
    "around",
    [
        '{"model": "demo", "messages": [{"role": "user", "content": "say:x"}], "metadata": %s}',
        '{"model": "demo", "messages": %s}',
        "%s",
    ],
)
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_a_400(tight: Server, opening: str, closing: str, around: str, depth: int) -> None:
    body = around % nested(opening, closing, depth if opening == "[" else depth // 4)
    if opening == "[":
        body = body[:2048]
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/tokenize"):
        assert httpx.post(f"{tight.url}{path}", content=body.encode()).status_code == 400, path
    assert tight.health()["restarts"] == 0


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://127.0.0.1:%d/secret"}},
        {"type": "file", "file": {"file_data": "http://127.0.0.1:%d/secret"}},
        {"type": "file", "file": {"file_id": "../../etc/passwd"}},
        {"type": "input_image", "image_url": "file:///etc/passwd"},
    ],
    ids=str,
)
def test_no_request_makes_the_server_fetch_or_open_anything(tight: Server, part: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        text = json.dumps(part).replace("%d", str(listener.getsockname()[1]))
        body = {"model": "demo", "messages": [{"role": "user", "content": [json.loads(text)]}]}
        assert httpx.post(f"{tight.url}/v1/chat/completions", json=body).status_code == 400
        ask = {"model": "demo", "input": [{"role": "user", "content": [json.loads(text)]}]}
        assert httpx.post(f"{tight.url}/v1/responses", json=ask).status_code == 400
        listener.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listener.accept()
