"""From HTTP to Modal's inputs and back: what the platform's edge does for an `asgi_app`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Self

from modal._serialization import deserialize_data_format, serialize, serialize_data_format
from modal_proto import api_pb2
from starlette.types import Message, Receive, Scope, Send

from tests.support.modal_loopback.http_server import HttpServer
from tests.support.modal_loopback.service import LoopThread

SENT_SCOPE = ("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "headers")
"""What of uvicorn's scope travels; the rest has no meaning in another process."""


@dataclass
class Call:
    """One HTTP request as a call of the container's function."""

    identity: str
    scope: dict[str, Any]
    method: str
    to_app: asyncio.Queue[api_pb2.DataChunk] = field(default_factory=asyncio.Queue)
    from_app: asyncio.Queue[Message | None] = field(default_factory=asyncio.Queue)
    failure: str = ""
    is_over: bool = False
    _indices: count[int] = field(default_factory=lambda: count(1))

    def as_input(self) -> api_pb2.FunctionGetInputsItem:
        """The input that starts the application."""
        function_input = api_pb2.FunctionInput(
            args=serialize(((self.scope,), {})), data_format=api_pb2.DATA_FORMAT_PICKLE, method_name=self.method
        )
        return api_pb2.FunctionGetInputsItem(
            input_id=f"in-{self.identity}",
            function_call_id=f"fc-{self.identity}",
            input=function_input,
            function_call_invocation_type=api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC,
        )

    def tell(self, message: Message) -> None:
        """Pass an ASGI event to the application."""
        data = serialize_data_format(message, api_pb2.DATA_FORMAT_ASGI)
        chunk = api_pb2.DataChunk(data_format=api_pb2.DATA_FORMAT_ASGI, data=data, index=next(self._indices))
        self.to_app.put_nowait(chunk)

    def answer(self, chunk: api_pb2.DataChunk) -> None:
        """Keep an ASGI event that the application sent."""
        message: Message = deserialize_data_format(chunk.data, chunk.data_format, None)
        self.from_app.put_nowait(message)

    def finish(self, result: api_pb2.GenericResult) -> None:
        """Mark the end, after the last event."""
        self.is_over = True
        self.failure = result.exception
        self.from_app.put_nowait(None)

    def lose(self) -> None:
        """Mark the end of a call whose container is gone."""
        if not self.is_over:
            self.finish(api_pb2.GenericResult(exception="the container is gone"))


class Front:
    """The platform's edge, served under `url`: every request becomes a `Call` that some container takes.

    Args:
        loop: where it runs.
        method: the ASGI method of the class that answers.
    """

    def __init__(self, loop: LoopThread, method: str = "serve") -> None:
        self.waiting: asyncio.Queue[Call] = asyncio.Queue()
        self._method = method
        self._calls: dict[str, Call] = {}
        self._numbers = count(1)
        self._server = HttpServer(loop, self)
        self.url = self._server.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; what is still open is cut off."""
        self._server.close()

    def call(self, identity: str) -> Call:
        """The call of an input or of a function call, by its id."""
        return self._calls[identity.partition("-")[2]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(str(next(self._numbers)), {key: scope[key] for key in SENT_SCOPE}, self._method)
        self._calls[call.identity] = call
        self.waiting.put_nowait(call)
        incoming = asyncio.create_task(self._pass_on(receive, call))
        try:
            await self._answer(call, send)
        finally:
            incoming.cancel()

    async def _pass_on(self, receive: Receive, call: Call) -> None:
        while True:
            message = await receive()
            call.tell(message)
            if message["type"] == "http.disconnect":
                return

    async def _answer(self, call: Call, send: Send) -> None:
        started = False
        while message := await call.from_app.get():
            started = True
            await send(message)
        if call.failure and not started:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": call.failure.encode()})
        elif call.failure:
            raise ConnectionError(call.failure)  # uvicorn then cuts the connection
