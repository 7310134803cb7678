"""Streams without number, and what carries them."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import DEMO, Server, serve, wait_for

STREAMS = 1000
LOOP = """
import asyncio
import uvicorn

inner = uvicorn.Server.startup

async def startup(server, sockets=None):
    await inner(server, sockets)
    print("loop:", type(asyncio.get_running_loop()).__module__, flush=True)
    kinds = [kind.__module__ for kind in server.config.http_protocol_class.__mro__]
    print("protocol:", *kinds, flush=True)

uvicorn.Server.startup = startup
"""
"""Of Python's `sitecustomize`: the server says what it runs on, and is otherwise left alone."""


@pytest.mark.parametrize(
    "arguments",
    [("ixmodal", "serve"), DEMO, (*DEMO, "--http", "ixmodal.asgi:Connection")],
    ids=["serve", "asgi", "bounded asgi"],
)
def test_it_runs_on_uvloop_and_httptools(arguments: tuple[str, ...], tmp_path: Path) -> None:
    tmp_path.joinpath("sitecustomize.py").write_text(LOOP)
    with serve(arguments, {"PYTHONPATH": str(tmp_path)}) as server:
        wait_for(lambda: "protocol:" in server.log, 10)
        assert "loop: uvloop" in server.log
        assert "uvicorn.protocols.http.httptools_impl" in server.log.partition("protocol:")[2].splitlines()[0]


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """As many as the streams need in this process too; the server sees to its own."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], STREAMS + 500), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Silent(asyncio.Protocol):
    """A client that asks for a stream and keeps what comes."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.received = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.received += data


async def hold(server: Server, request: bytes) -> None:
    """Open all streams, wait until each has begun or is kept by a comment, and leave."""
    loop, port = asyncio.get_running_loop(), int(server.url.rpartition(":")[2])
    made = [(await loop.create_connection(lambda: Silent(request), "127.0.0.1", port))[1] for _ in range(STREAMS)]
    try:
        async with asyncio.timeout(60):
            while not all(b"\r\n\r\n" in client.received for client in made):  # noqa: ASYNC110  # what others wrote
                await asyncio.sleep(0.05)
        assert all(client.received.startswith(b"HTTP/1.1 200 OK") for client in made)
        assert not any(client.transport.is_closing() for client in made)
        health = await asyncio.to_thread(server.health)
        assert health["running"] == 1
        assert health["queued"] > 0.9 * STREAMS  # some are answered by now
    finally:
        for client in made:
            client.transport.abort()
        await asyncio.sleep(0)


@pytest.mark.usefixtures("many_descriptors")
def test_a_thousand_streams_wait_and_leave_nothing_behind() -> None:
    spec = {
        "models": [{"id": "demo", "slots": 1, "context_length": 512}],
        "endpoint": {"max_queued": STREAMS},
        "limits": {"head_timeout": 1},
    }
    body = {"model": "demo", "prompt": "a", "stream": True, "max_tokens": 400, "ignore_eos": True}
    data = json.dumps(body).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    with serve(DEMO, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        asyncio.run(hold(server, head % len(data) + data))
        wait_for(lambda: (server.health()["running"], server.health()["queued"]) == (0, 0), 20)
