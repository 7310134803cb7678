"""Clients that ask one question after the other, in a thread of their own, and look at every answer."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import httpx

from tests.chaos.tally import Outcome, Tally, judge_error
from tests.support.server import Server

_DEADLINE = 60.0
"""Seconds after which silence is a loss."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Question:
    """A request, and the text that must come back; None: any that is not empty."""

    body: dict[str, Any]
    expected: str | None
    path: str = "/v1/chat/completions"


def scripted(orders: str = "!slow=0.004") -> Question:
    """A question to the scripted engine, every second one streamed."""
    text = "".join(random.choices(LETTERS, k=random.randint(5, 25)))
    messages = [{"role": "user", "content": f"{orders} say:{text}"}]
    return Question({"model": "demo", "stream": random.random() < 0.5, "messages": messages}, text)


def real() -> Question:
    """A question to the model that ships."""
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    body = {"model": "demo", "stream": random.random() < 0.5, "messages": messages, "max_tokens": 12, "temperature": 0}
    return Question(body, None)


class Load:
    """Asks for as long as the block runs; then every question has had its answer."""

    def __init__(
        self, server: Server, ask: Callable[[], Question] = scripted, *, clients: int = 4, pause: float = 0.02
    ) -> None:
        self.tally = Tally()
        self.may_end = False
        """True once the server may end: then nobody listening is a refusal."""
        self._url = server.url
        self._ask = ask
        self._clients = clients
        self._pause = pause
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    async def _run(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=_DEADLINE) as client:
            await asyncio.gather(*(self._ask_on(client) for _ in range(self._clients)))

    async def _ask_on(self, client: httpx.AsyncClient) -> None:
        while not self._ended.is_set():
            try:
                outcome, reason = await answer_of(client, self._ask())
            except httpx.ConnectError as error:
                outcome, reason = (Outcome.REFUSED if self.may_end else Outcome.LOST), repr(error)
            except httpx.HTTPError as error:
                outcome, reason = Outcome.LOST, repr(error)
            self.tally.add(outcome, reason)
            await asyncio.sleep(self._pause if outcome is Outcome.COMPLETED else 0.1)


async def answer_of(client: httpx.AsyncClient, question: Question) -> tuple[Outcome, str]:
    """Ask. Returns what became of it and why. Raises `httpx.HTTPError` where no whole answer came."""
    async with client.stream("POST", question.path, json=question.body) as response:
        if response.headers["content-type"].startswith("text/event-stream"):
            return await _of_stream(response, question)
        body = json.loads(await response.aread())
    if response.status_code != 200:
        return judge_error(response.status_code, response.headers, body)
    if question.path == "/v1/responses":
        said = "".join(part["text"] for item in body["output"] for part in item["content"])
    else:
        said = body["choices"][0]["message"]["content"]
    return _compare(said, question)


async def _of_stream(response: httpx.Response, question: Question) -> tuple[Outcome, str]:
    said, reason, last = "", None, ""
    async for line in response.aiter_lines():
        if not line.startswith("data: "):
            continue
        last = line.removeprefix("data: ")
        if last == "[DONE]":
            continue
        data = json.loads(last)
        if "error" in data:
            return judge_error(599, {}, data)
        if data["choices"]:
            said += data["choices"][0]["delta"].get("content") or ""
            reason = data["choices"][0]["finish_reason"] or reason
    if reason is None or last != "[DONE]":
        return Outcome.LOST, f"a stream ended without its end, after {said!r:.40}"
    return _compare(said, question)


def _compare(said: str, question: Question) -> tuple[Outcome, str]:
    if said == question.expected or (question.expected is None and said):
        return Outcome.COMPLETED, ""
    return Outcome.LOST, f"{said!r:.40} instead of {question.expected!r:.40}"
