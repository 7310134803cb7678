"""Who watches a background response may leave: the watching ends, the response goes on."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import httpx

from ixmodal.server.guard import GuardMiddleware
from ixmodal.server.store import MemoryStore
from ixmodal.spec import Limits
from tests.engine.helpers import PATIENCE, until
from tests.server.test_responses_app import Fake, build


class Watcher:
    """A client of one GET that leaves when it is told to; the application runs in this very loop."""

    def __init__(self, path: str, query: bytes) -> None:
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "root_path": "",
            "headers": [],
            "state": {},
        }
        self.received = b""
        self.leaves = asyncio.Event()
        self._asked = False

    async def receive(self) -> MutableMapping[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.received += message.get("body", b"")


async def test_a_watcher_that_leaves_ends_the_watching_and_nothing_else() -> None:
    fake = Fake()
    app = build(fake, MemoryStore())
    guarded = GuardMiddleware(app, Limits())
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app=guarded), base_url="http://test")
    async with app.router.lifespan_context(app), asyncio.timeout(PATIENCE), client as http:
        body = {"model": "demo", "input": "echo: a WAIT b", "background": True}
        id = (await http.post("/v1/responses", json=body)).json()["id"]
        leaver, stayer = (Watcher(f"/v1/responses/{id}", b"stream=true") for _ in range(2))
        watching = [asyncio.create_task(guarded(w.scope, w.receive, w.send)) for w in (leaver, stayer)]
        await until(lambda: b"output_text.delta" in leaver.received and b"output_text.delta" in stayer.received)
        leaver.leaves.set()
        await watching[0]
        assert b"[DONE]" not in leaver.received
        assert not watching[1].done()
        assert (await http.get(f"/v1/responses/{id}")).json()["status"] == "in_progress"
        assert fake.closed == 0
        fake.gate.set()
        await watching[1]
        assert b"response.completed" in stayer.received
        assert (await http.get(f"/v1/responses/{id}")).json()["status"] == "completed"
