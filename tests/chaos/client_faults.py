"""Clients that misbehave beside others that don't: the others must not notice."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.chaos.engine_faults import spec_of, warm_up
from tests.chaos.load import Load, scripted
from tests.chaos.report import Row, measured
from tests.support.server import SCRIPTED, Server, serve

BOUNDED = (*SCRIPTED, "--http", "tests.support.scripted:Connection")
_LIMITS = {"header_timeout": 1, "body_timeout": 1, "write_timeout": 1, "queue_timeout": 20}


def connect(server: Server, receive_bytes: int | None = None) -> socket.socket:
    """A bare connection, with a small window if need be."""
    found = socket.socket()
    if receive_bytes:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    found.settimeout(10)
    address = urlsplit(server.url)
    found.connect((address.hostname, address.port))
    return found


def head_of(body: bytes) -> bytes:
    """The head of a request with such a body."""
    return f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()


def _stop_reading(server: Server) -> socket.socket:
    content = f"!forever say:{'x' * 500}"
    body = json.dumps({"model": "demo", "stream": True, "messages": [{"role": "user", "content": content}]}).encode()
    connection = connect(server, 2048)
    connection.sendall(head_of(body) + body)
    return connection


def _half_open(server: Server) -> socket.socket:
    connection = connect(server)
    connection.sendall(head_of(b"x" * 100) + b'{"model"')
    return connection


def _slow_head(server: Server) -> socket.socket:
    connection = connect(server)
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    return connection


def _beside(name: str, seconds: float, begin: Callable[[Server], socket.socket], at_once: int, feed: bytes) -> Row:
    """Keep bad connections open, a few of each kind of end, while good clients ask."""
    row = Row(name)
    with serve(BOUNDED, spec_of(**_LIMITS)) as server:
        warm_up(server, scripted)
        with measured(row, server):
            with Load(server, scripted) as load:
                deadline = time.monotonic() + seconds
                while time.monotonic() < deadline:
                    bad = [begin(server) for _ in range(at_once)]
                    row.faults += at_once
                    _hold(bad, 2.5, feed)
                    if begin is not _stop_reading and not all(_is_closed(connection) for connection in bad):
                        row.problems.append("a bad connection was kept open")
                    for connection in bad:
                        connection.close()
            row.tally = load.tally
    row.check()
    return row


def _hold(connections: list[socket.socket], seconds: float, feed: bytes) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for connection in connections:
            try:
                connection.sendall(feed)
            except OSError:
                continue  # the server has given it up
        time.sleep(0.2)


def _is_closed(connection: socket.socket) -> bool:
    """Whether the server has ended the connection, with or without a word."""
    connection.settimeout(1)
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def stop_reading(seconds: float) -> Row:
    """Clients open a stream without end and stop reading it; their slots must become free."""
    return _beside("readers that stop reading", seconds, _stop_reading, 6, b"")


def half_open(seconds: float) -> Row:
    """Clients send half a body and nothing more, as if their machine were gone."""
    return _beside("half-open connections", seconds, _half_open, 30, b"")


def slow_head(seconds: float) -> Row:
    """Clients send a byte of a header at a time."""
    return _beside("slow header senders", seconds, _slow_head, 30, b"x")
