"""Generated requests: whatever comes, no 5xx, nothing that the document does not say, and the engine lives.

`python -m tests.fuzz` sends as many as one likes.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.fuzzing import by_oddities, by_schema, unharmed
from tests.support.server import DEMO, SCRIPTED, Server, serve

SPEC = json.dumps(
    {
        "models": [{"id": "demo", "slots": 2, "context_length": 1024}],
        "default_model": "demo",
        "limits": {"max_tokens": 32, "max_body_bytes": 300_000},
    }
)


@pytest.fixture(scope="module")
def quick() -> Iterator[Server]:
    with serve(SCRIPTED, {"IXMODAL_SPEC": SPEC}) as server:
        yield server


@pytest.fixture(scope="module")
def real() -> Iterator[Server]:
    with serve(DEMO, {"IXMODAL_SPEC": json.dumps({"default_model": "demo", "limits": {"max_tokens": 8}})}) as server:
        yield server


@pytest.mark.timeout(300)
def test_thousands_of_cases_of_the_schema(quick: Server) -> None:
    with unharmed(quick):
        found = by_schema(quick.url, phases=("coverage",), examples=1, deterministic=True)
        found += by_schema(quick.url, phases=("stateful",), examples=4, deterministic=True)
    assert found.cases >= 2000
    read = [name for name in found.accepted if name.startswith("POST ") and "{id}" not in name]
    assert len(read) >= 8
    assert all(found.accepted[name] for name in read), found.accepted


@pytest.mark.timeout(240)
def test_cases_of_the_schema_with_the_model_that_ships(real: Server) -> None:
    with unharmed(real):
        assert by_schema(real.url, phases=("fuzzing", "stateful"), examples=3, deterministic=True).cases >= 50


@pytest.mark.parametrize(("name", "cases"), [("quick", 300), ("real", 60)])
def test_what_no_schema_allows(request: pytest.FixtureRequest, name: str, cases: int) -> None:
    server: Server = request.getfixturevalue(name)
    with unharmed(server):
        by_oddities(server, cases, deterministic=True)


MALFORMED = [
    b"",
    b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /health HTTP/1.1\r\n" + b"x: " + b"a" * 200_000 + b"\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost: a\r\nx: a\x00\x01\r\n\r\n",
    b"GET /%ff%00/\xff HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET http://other.example/health HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET * HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n{}",
    b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n{}",
    b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\n{}",
    b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
    b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n{}",
    b"GET /v1/models HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_http(quick: Server, raw: bytes) -> None:
    """It is refused, or waited for in vain; nothing is harmed."""
    with unharmed(quick), socket.create_connection(("127.0.0.1", int(quick.url.rpartition(":")[2])), 30) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        with suppress(ConnectionResetError):
            while part := connection.recv(65_536):
                answer += part
    assert re.match(rb"HTTP/1\.1 [234]\d\d ", answer) or answer == b"", answer
