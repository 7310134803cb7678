"""Puts a `Load` on a server and notes what comes back. Meant to use little of a processor that the server needs."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any
from urllib.parse import urlsplit

import orjson

from ixmodal.benchmark.connection import Connection, Exchange
from ixmodal.benchmark.events import Digest, digest
from ixmodal.benchmark.load import Answer, Load, Run
from ixmodal.benchmark.prompts import Prompts
from ixmodal.errors import SpecError


def run(load: Load) -> Run:
    """Hold all conversations of a load. Raises `SpecError` for a load that makes no sense."""
    check(load)
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.run(Generator(load).run())
    return uvloop.run(Generator(load).run())


def check(load: Load) -> None:
    """Raises `SpecError` that names what is wrong."""
    wrong = []
    url = urlsplit(load.base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        wrong.append(f"base_url: {load.base_url} is no URL such as http://127.0.0.1:8000/v1")
    if not load.chat and (load.turns > 1 or load.system_words):
        wrong.append("turns, system_words: only chats have further turns and a system prompt")
    wrong += [
        f"{name}: {getattr(load, name)} is too small; write {least} or more"
        for name, least in (("conversations", 1), ("streams", 1), ("turns", 1), ("prompt_words", 1), ("max_tokens", 1))
        if getattr(load, name) < least
    ]
    if load.rate is not None and load.rate <= 0:
        wrong.append(f"rate: {load.rate:g} is no rate; write more than 0, or leave it out")
    if wrong:
        raise SpecError("the load", wrong)


class Generator:
    """One run of one load."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._url = urlsplit(load.base_url)
        self._prompts = Prompts(load.seed)
        self._answers: list[Answer] = []
        self._began = 0.0
        path = self._url.path.rstrip("/") + ("/chat/completions" if load.chat else "/completions")
        head = [f"POST {path} HTTP/1.1", f"Host: {self._url.netloc.rpartition('@')[2]}"]
        head += ["Content-Type: application/json", "Accept: text/event-stream"]
        head += [f"Authorization: Bearer {load.api_key}"] if load.api_key else []
        self._head = "\r\n".join(head).encode()

    async def run(self) -> Run:
        """All conversations, to the end of the last one."""
        spent = time.process_time()
        self._began = time.perf_counter()
        await (self._closed_loop() if self._load.rate is None else self._open_loop(self._load.rate))
        return Run(
            answers=self._answers,
            seconds=max(answer.due + answer.ended for answer in self._answers),
            processor_seconds=time.process_time() - spent,
        )

    async def _closed_loop(self) -> None:
        numbers = iter(range(self._load.conversations))

        async def client() -> None:
            connections: list[Connection] = []
            for number in numbers:
                await self._converse(number, None, connections)
            for connection in connections:
                connection.close()

        async with asyncio.TaskGroup() as clients:
            for _ in range(min(self._load.streams, self._load.conversations)):
                clients.create_task(client())

    async def _open_loop(self, rate: float) -> None:
        dice = random.Random(self._load.seed)
        connections: list[Connection] = []
        due = 0.0
        async with asyncio.TaskGroup() as clients:
            for number in range(self._load.conversations):
                await asyncio.sleep(due - (time.perf_counter() - self._began))
                clients.create_task(self._converse(number, due, connections))
                due += dice.expovariate(rate)
        for connection in connections:
            connection.close()

    async def _converse(self, number: int, due: float | None, free: list[Connection]) -> None:
        """One conversation; its connection comes from `free` where there is one, and goes back there."""
        load = self._load
        is_long = bool(load.long_every) and number % load.long_every == load.long_every - 1
        messages: list[dict[str, str]] = []
        if load.system_words:
            messages.append({"role": "system", "content": self._prompts.system(load.system_words)})
        for turn in range(load.turns):
            words = load.long_words if is_long and not turn else load.prompt_words
            messages.append({"role": "user", "content": self._prompts.user(words, number, turn)})
            now = time.perf_counter() - self._began
            answer = Answer(
                conversation=number, turn=turn, is_long=is_long, due=now if due is None else due, late=0.0, outcome=""
            )
            self._answers.append(answer)
            text = await self._ask(messages, answer, free)
            if not answer.is_complete:
                return  # the rest of this conversation would be about something else
            messages.append({"role": "assistant", "content": text})
            due = None

    async def _ask(self, messages: list[dict[str, str]], answer: Answer, free: list[Connection]) -> str:
        body: dict[str, Any] = {
            "model": self._load.model,
            **({"messages": messages} if self._load.chat else {"prompt": messages[-1]["content"]}),
            "max_tokens": self._load.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._load.body,
        }
        data = orjson.dumps(body)
        request = b"%b\r\nContent-Length: %d\r\n\r\n%b" % (self._head, len(data), data)
        due = self._began + answer.due
        exchange = await self._exchange(request, answer, free)
        answer.ended = (exchange.ended or time.perf_counter()) - due
        return _fill(answer, digest(exchange), due)

    async def _exchange(self, request: bytes, answer: Answer, free: list[Connection]) -> Exchange:
        while True:
            connection = _reusable(free)
            is_used = connection is not None
            if connection is None:
                try:
                    connection = await self._connect()
                except (OSError, TimeoutError) as error:
                    return Exchange(problem="no connection", detail=str(error))
            answer.late = time.perf_counter() - self._began - answer.due
            exchange = await connection.post(request, self._load.timeout)
            if connection.is_open:
                free.append(connection)
            if not (is_used and exchange.problem == "cut off" and not exchange.pieces):
                return exchange
            # A server may close a connection just as it is used again; then a new one is the remedy.

    async def _connect(self) -> Connection:
        is_tls = self._url.scheme == "https"
        port = self._url.port or (443 if is_tls else 80)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._load.timeout):
            _, connection = await loop.create_connection(Connection, self._url.hostname or "", port, ssl=is_tls or None)
        return connection


def _reusable(free: list[Connection]) -> Connection | None:
    while free:
        if (connection := free.pop()).is_open:
            return connection
    return None


def _fill(answer: Answer, found: Digest, due: float) -> str:
    """Copy what a stream said into the answer, its times relative to when it was due; returns the text."""
    answer.outcome, answer.detail, answer.finish_reason = found.outcome, found.detail, found.finish_reason
    answer.deltas = [at - due for at in found.deltas]
    answer.completion_tokens = found.usage.get("completion_tokens")
    answer.prompt_tokens = found.usage.get("prompt_tokens")
    answer.cached_tokens = (found.usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return found.text
