"""What comes before a body, against a real uvicorn with our connection."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import psutil
import pytest

from ixmodal.server.connection import raise_descriptor_limit
from tests.support.server import DEMO, SCRIPTED, Server, serve, wait_for

LIMITS = {"header_timeout": 1, "max_header_bytes": 4096}
SPEC = {"models": [{"id": "demo"}], "limits": LIMITS, "endpoint": {"api_keys": ["key"]}}
CONNECTION = ("--http", "tests.support.scripted:Connection")


@pytest.fixture(scope="module")
def bounded() -> Iterator[Server]:
    with serve((*SCRIPTED, *CONNECTION), {"IXMODAL_SPEC": json.dumps(SPEC)}) as server:
        yield server


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=8) as connection:
        yield connection


def rest(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = b""
    try:
        while data := connection.recv(65_536):
            received += data
    except ConnectionResetError:
        pass
    return received


def trickle(connection: socket.socket, piece: bytes) -> bytes:
    """Send a piece ten times a second until the server closes; fails if it does not within 8 seconds."""
    deadline = time.monotonic() + 8
    connection.settimeout(0.1)
    received = b""
    while time.monotonic() < deadline:
        try:
            connection.sendall(piece)
            if not (data := connection.recv(65_536)):
                return received
            received += data
        except TimeoutError:
            continue
        except OSError:
            return received
    pytest.fail("the server never closed")


def open_connections(server: Server) -> int:
    return sum(found.status == "ESTABLISHED" for found in psutil.Process(server.process.pid).net_connections("tcp"))


def test_a_head_that_trickles_in_is_408(bounded: Server) -> None:
    with connected(bounded) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n")
        answer = trickle(connection, b"x-a: b\r\n")
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b'"code":"header_timeout"' in answer


def test_who_says_nothing_or_only_line_breaks_is_closed(bounded: Server) -> None:
    with connected(bounded) as silent:
        assert rest(silent) == b""
    with connected(bounded) as breaking:
        trickle(breaking, b"\r\n")


def test_a_later_request_has_the_same_time(bounded: Server) -> None:
    with connected(bounded) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b" 200 " in connection.recv(65_536)
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert b" 408 " in trickle(connection, b"x-a: b\r\n")


def test_a_head_without_end_is_431(bounded: Server) -> None:
    for piece in (b"x-a: b\r\n", b"a"):
        with connected(bounded) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\nx: ")
            sent, answer = 0, b""
            connection.settimeout(0.02)
            while sent < 1_000_000 and not answer:
                try:
                    connection.sendall(piece * 512)
                    sent += 512 * len(piece)
                    answer = connection.recv(65_536)
                except TimeoutError:
                    continue
                except OSError:
                    break
            assert sent < 100_000
            if answer:
                assert answer.startswith(b"HTTP/1.1 431 ")
                assert b'"code":"headers_too_large"' in answer


def test_a_long_head_in_one_piece_and_too_many_headers_are_431(bounded: Server) -> None:
    key = {"authorization": "Bearer key"}
    assert httpx.get(f"{bounded.url}/v1/models", headers={**key, "x-a": "b" * 3000}).status_code == 200
    assert httpx.get(f"{bounded.url}/v1/models", headers={**key, "x-a": "b" * 5000}).status_code == 431
    assert httpx.get(f"{bounded.url}/v1/models?{'q' * 5000}", headers=key).status_code == 431
    many = {f"x-{index}": "1" for index in range(120)}
    refused = httpx.get(f"{bounded.url}/v1/models", headers={**key, **many})
    assert (refused.status_code, refused.json()["error"]["code"]) == (431, "headers_too_large")


def test_an_answer_may_take_longer_than_a_head(bounded: Server) -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": "!slow=0.1 say:abcdefghijklmnopqrst"}]}
    with httpx.Client(headers={"authorization": "Bearer key"}, timeout=20) as client:
        for _ in range(2):
            answer = client.post(f"{bounded.url}/v1/chat/completions", json=body)
            assert answer.json()["choices"][0]["message"]["content"] == "abcdefghijklmnopqrst"


def test_pipelined_requests_are_all_answered(bounded: Server) -> None:
    one = b"GET /healthz HTTP/1.1\r\nhost: a\r\nx-fill: " + b"f" * 1500 + b"\r\n\r\n"
    with connected(bounded) as connection:
        connection.sendall(one * 6 + one.replace(b"host: a", b"host: a\r\nconnection: close"))
        assert rest(connection).count(b"HTTP/1.1 200 OK") == 7


def test_many_slow_senders_leave_nothing_behind(bounded: Server) -> None:
    before = open_connections(bounded)
    host, port = bounded.url.removeprefix("http://").split(":")
    senders = [socket.create_connection((host, int(port))) for _ in range(200)]
    for sender in senders:
        sender.sendall(b"GET / HTTP/1.1\r\nx: ")
    assert httpx.get(f"{bounded.url}/healthz").status_code == 200
    wait_for(lambda: open_connections(bounded) <= before, 10)
    for sender in senders:
        sender.close()


def test_the_entry_points_use_it() -> None:
    environ = {"IXMODAL_LIMITS__HEADER_TIMEOUT": "0.5"}
    for arguments in (("ixmodal", "serve"), (*DEMO, "--http", "ixmodal.asgi:Connection")):
        with serve(arguments, environ) as server, connected(server) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n")
            assert b" 408 " in rest(connection)


@contextmanager
def narrow() -> Iterator[Server]:
    """A server with 72 file descriptors, of which connections take 36."""
    with serve((*SCRIPTED, *CONNECTION), {"IXMODAL_SPEC": '{"models": [{"id": "demo"}]}'}) as server:
        psutil.Process(server.process.pid).rlimit(resource.RLIMIT_NOFILE, (72, 72))
        yield server


def test_who_says_nothing_makes_room_for_who_speaks() -> None:
    with narrow() as server, ExitStack() as held:
        silent = [held.enter_context(connected(server)) for _ in range(50)]
        assert httpx.get(f"{server.url}/v1/models").status_code == 200
        assert rest(silent[0]) == b""


def test_who_comes_on_top_is_told_to_wait() -> None:
    half = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"
    with narrow() as server, ExitStack() as held:
        for _ in range(40):
            held.enter_context(connected(server)).sendall(half)
        wait_for(lambda: httpx.get(f"{server.url}/v1/models").status_code == 503, 10)
        refused = httpx.get(f"{server.url}/v1/models")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_connections")
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
        assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_the_process_takes_the_descriptors_that_it_may_have() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(before[1], 65_536), before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
