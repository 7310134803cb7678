"""Processor time a token of the HTTP process and of the engine: `python -m bench.http_cost`.

The server is `uvicorn ixmodal.asgi:app` in processes of its own; the shipped model answers, `ignore_eos`, so that every
stream has the tokens it asks for. Times are user and system, of all threads, over one round of streams that
begin together. Tokens counted are those that arrived, by the usage at each stream's end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from bench.machine import describe_machine
from bench.processes import processor_seconds
from tests.support.server import DEMO, Server, serve

RESULTS = Path(__file__).parent / "results"
PROMPT = "What is the capital of France?"


class Answer(NamedTuple):
    """What one stream brought."""

    tokens: int
    events: int
    reads: int


class _Reader(asyncio.Protocol):
    """Sends one request and reads to the end; as light as can be, for it shares the machine."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._events = self._reads = 0
        self._tail = b""
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._reads += 1
        self._events += data.count(b"data: {")
        self._tail = self._tail[-2048:] + data

    def connection_lost(self, _error: Exception | None) -> None:
        at = self._tail.rfind(b'"completion_tokens":')
        if self.answer.done():
            return
        if at < 0 or b"[DONE]" not in self._tail:
            self.answer.set_exception(AssertionError(f"a cut stream: {self._tail[-500:]!r}"))
            return
        tokens = int(self._tail[at + 20 :].partition(b",")[0])
        self.answer.set_result(Answer(tokens, self._events, self._reads))


def request_of(route: str, model: str, tokens: int, more: dict[str, Any]) -> bytes:
    """The request as bytes, on a connection of its own."""
    body: dict[str, Any] = {"model": model, "max_tokens": tokens, "temperature": 0, "stream": True, **more}
    body["stream_options"] = {"include_usage": True}
    if route == "chat":
        body["messages"] = [{"role": "user", "content": PROMPT}]
    else:
        body["prompt"] = PROMPT
    data = json.dumps(body).encode()
    path = "/v1/chat/completions" if route == "chat" else "/v1/completions"
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(data) + data


async def _stream_all(port: int, request: bytes, streams: int) -> list[Answer]:
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: _Reader(request), "127.0.0.1", port) for _ in range(streams)]
    return await asyncio.gather(*(reader.answer for _, reader in made))


def measure(server: Server, request: bytes, streams: int) -> dict[str, float]:
    """One round: microseconds a token of both processes, and how the tokens came."""
    before = processor_seconds(server.process.pid)
    began = time.perf_counter()
    answers = uvloop.run(_stream_all(int(server.url.rpartition(":")[2]), request, streams))
    seconds = time.perf_counter() - began
    after = processor_seconds(server.process.pid)
    http, engine = (after[role] - before[role] for role in ("server", "engine"))
    tokens = sum(answer.tokens for answer in answers)
    return {
        "streams": streams,
        "tokens": tokens,
        "http_us_per_token": round(http / tokens * 1e6, 1),
        "engine_us_per_token": round(engine / tokens * 1e6, 1),
        "http_share_of_both": round(http / (http + engine), 3),
        "tokens_per_second": round(tokens / seconds),
        "tokens_per_event": round(tokens / sum(answer.events for answer in answers), 2),
        "events_per_read": round(sum(a.events for a in answers) / sum(a.reads for a in answers), 2),
    }


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--engine", choices=["ctransformers", "llama_cpp"], default="ctransformers")
    parser.add_argument("--route", choices=["chat", "completions"], default="chat")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 64, 200])
    parser.add_argument("--tokens", type=int, default=100, help="of each stream")
    parser.add_argument("--total", type=int, default=20_000, help="tokens of a round; with few streams, several rounds")
    parser.add_argument("--record", action="store_true", help="write bench/results/http_cost.json")
    options = parser.parse_args()
    model = {"id": "demo", "engine": options.engine, "slots": options.slots, "context_length": 512, "threads": 1}
    spec = {"models": [model], "endpoint": {"max_queued": 10_000}}
    request = request_of(options.route, "demo", options.tokens, {"ignore_eos": True})
    rows = []
    with serve(DEMO, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        measure(server, request, 4)
        for streams in options.streams:
            rounds = max(1, options.total // (streams * options.tokens))
            found = [measure(server, request, streams) for _ in range(rounds)]
            row = {name: round(sum(one[name] for one in found) / rounds, 3) for name in found[0]}
            rows.append(row)
            print(json.dumps(row), flush=True)
    if options.record:
        report = {"options": vars(options), "machine": describe_machine(), "rows": rows}
        RESULTS.joinpath("http_cost.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
