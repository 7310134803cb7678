"""More clients than there is room for: the real `openai` client, which waits as it is told and comes back."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
from openai import AsyncOpenAI, OpenAIError

from tests.chaos.engine_faults import warm_up
from tests.chaos.load import scripted
from tests.chaos.report import Row, measured
from tests.chaos.tally import Outcome
from tests.support.server import SCRIPTED, Server, serve

CLIENTS, SLOTS, QUEUE = 64, 2, 16
QUEUE_TIMEOUT = 10.0
MAX_RETRIES = 100
ENDS_WITHIN = 120.0
"""Seconds for the last requests to be completed after the time is up."""


@dataclass
class _Attempts:
    """What the clients' own retries saw: one entry an HTTP exchange."""

    statuses: Counter[int] = field(default_factory=Counter)
    untold: int = 0
    longest: float = 0.0
    most_tries: int = 0


async def _client(server: Server, found: _Attempts, row: Row, until: float) -> None:
    began = 0.0
    tries = 0

    async def note_request(_request: httpx.Request) -> None:
        nonlocal began, tries
        began, tries = time.monotonic(), tries + 1

    async def note_response(response: httpx.Response) -> None:
        await response.aread()
        found.statuses[response.status_code] += 1
        found.untold += response.status_code == 429 and "retry-after" not in response.headers
        found.longest = max(found.longest, time.monotonic() - began)

    hooks = {"request": [note_request], "response": [note_response]}
    async with (
        httpx.AsyncClient(event_hooks=hooks, timeout=60) as http,
        AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=MAX_RETRIES, http_client=http) as client,
    ):
        while time.monotonic() < until:
            tries = 0
            question = scripted("!slow=0.004")
            try:
                answer = await client.chat.completions.create(**question.body | {"stream": False})
            except OpenAIError as error:
                row.tally.add(Outcome.LOST, repr(error))
                continue
            found.most_tries = max(found.most_tries, tries)
            said = answer.choices[0].message.content
            row.tally.add(Outcome.COMPLETED if said == question.expected else Outcome.LOST, f"{said!r}")


async def _crowd(server: Server, found: _Attempts, row: Row, seconds: float) -> None:
    until = time.monotonic() + seconds
    async with asyncio.timeout(seconds + ENDS_WITHIN):
        await asyncio.gather(*(_client(server, found, row, until) for _ in range(CLIENTS)))


def overload(seconds: float) -> Row:
    """64 clients on two slots with a queue of 16: all are served in the end, and none waits beyond the deadline."""
    row, found = Row(f"{CLIENTS} `openai` clients on {SLOTS} slots, queue of {QUEUE}", faults=1), _Attempts()
    spec = {
        "models": [{"id": "demo", "slots": SLOTS}],
        "endpoint": {"max_queued": QUEUE},
        "limits": {"queue_timeout": QUEUE_TIMEOUT},
    }
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        warm_up(server, scripted)
        with measured(row, server):
            asyncio.run(_crowd(server, found, row, seconds))
    row.notes.append(
        f"{found.statuses.total()} exchanges, {found.statuses[429]} of them 429, {found.untold} without Retry-After; "
        f"longest exchange {found.longest:.1f} s of {QUEUE_TIMEOUT:g} s in the queue; "
        f"at most {found.most_tries} tries for a request (max_retries={MAX_RETRIES})"
    )
    if not found.statuses[429] or found.untold:
        row.problems.append("no 429, or one without Retry-After")
    if found.longest > QUEUE_TIMEOUT + 5:
        row.problems.append("somebody waited beyond the deadline")
    if set(found.statuses) - {200, 429}:
        row.problems.append(f"statuses {dict(found.statuses)}")
    row.check()
    return row
