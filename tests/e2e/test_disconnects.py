"""A thousand clients that open a stream and hang up: everything they held is free again, memory included."""

from __future__ import annotations

import json
import socket

import psutil

from tests.support.server import DEMO, Server, serve, wait_for

CLIENTS = 1000
AT_ONCE = 50
ALLOWED_GROWTH = 20 * 1024 * 1024


def open_stream(server: Server) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps(
        {
            "model": "demo",
            "stream": True,
            "temperature": 1.5,
            "ignore_eos": True,
            "messages": [{"role": "user", "content": "Tell me a joke"}],
        }
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(head + body)
    return connection


def hang_up_on(server: Server, clients: int) -> None:
    """The first of each batch hangs up in its stream, the others in theirs, in the queue or before it."""
    for _ in range(clients // AT_ONCE):
        batch = [open_stream(server) for _ in range(AT_ONCE)]
        batch[0].recv(1)
        for connection in batch:
            connection.close()


def is_idle(server: Server) -> bool:
    health = server.health()
    return (health["running"], health["queued"]) == (0, 0)


def memory(server: Server) -> dict[int, int]:
    processes = [psutil.Process(server.process.pid), *server.engines()]
    return {process.pid: process.memory_info().rss for process in processes}


def test_a_thousand_hang_ups_leave_nothing_behind() -> None:
    with serve(DEMO) as server:
        hang_up_on(server, 100)
        wait_for(lambda: is_idle(server), 30)
        before, descriptors = memory(server), psutil.Process(server.process.pid).num_fds()
        hang_up_on(server, CLIENTS)
        wait_for(lambda: is_idle(server), 60)
        after = memory(server)
        assert after.keys() == before.keys()
        growth = {pid: after[pid] - before[pid] for pid in before}
        assert max(growth.values()) < ALLOWED_GROWTH, growth
        wait_for(lambda: psutil.Process(server.process.pid).num_fds() <= descriptors + 2, 10)
        assert server.health()["restarts"] == 0
