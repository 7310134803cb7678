"""A server that speaks OpenAI's streams badly, each in its own way."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from types import TracebackType
from typing import Any


def event(content: str | None = None, finish: str | None = None) -> bytes:
    choice: dict[str, Any] = {"index": 0, "delta": {"content": content} if content else {}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


TEXT = event("a") + event("b") + event("c")
DONE = event(finish="stop") + b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CLOSED = HEAD + b"Connection: close\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


REFUSAL = b'{"error": {"message": "slow down"}}'
ANSWERS = {
    "refuse": b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: %d\r\n\r\n%b" % (len(REFUSAL), REFUSAL),
    "cut": CLOSED + TEXT,
    "cut chunk": CHUNKED + chunk(TEXT)[:-9],
    "no finish": CHUNKED + chunk(TEXT + b"data: [DONE]\n\n") + chunk(b""),
    "error event": CHUNKED + chunk(TEXT + b'data: {"error": {"message": "lost"}}\n\ndata: [DONE]\n\n') + chunk(b""),
    "noise": b"\x00\x01 what?\r\n\r\n",
    "odd": CHUNKED + chunk(TEXT + b'data: {"choices": [1]}\n\n' + DONE) + chunk(b""),
    "hang": CHUNKED + chunk(TEXT),
    # An event may come in pieces.
    "plain": CHUNKED + chunk(TEXT[:30]) + chunk(TEXT[30:] + DONE) + chunk(b""),
    "closes after": CHUNKED + chunk(TEXT + DONE) + chunk(b""),
}


class OddServer:
    """Answers every request in one way; gives its base URL to the block."""

    def __init__(self, behaviour: str) -> None:
        stopped = self._stopped = threading.Event()

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while length := self._read_request():
                    self.rfile.read(length)
                    self.wfile.write(ANSWERS[behaviour])
                    self.wfile.flush()
                    if behaviour == "hang":
                        stopped.wait(10)
                    if behaviour == "closes after":
                        time.sleep(0.02)
                    if behaviour not in ("plain", "no finish", "refuse"):
                        return

            def _read_request(self) -> int:
                length = 0
                while (line := self.rfile.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                return length

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
