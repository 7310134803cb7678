"""A gRPC server that speaks Modal's protocol: handlers are plain functions by RPC name, each call is recorded."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from google.protobuf.message import Message
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream
from modal_proto.api_grpc import ModalClientBase

T = TypeVar("T")
M = TypeVar("M", bound=Message)
Unary = Callable[[Any], Message | Awaitable[Message]]
Streaming = Callable[[Any], AsyncIterator[Message]]


class LoopThread:
    """An event loop in a thread of its own, for tests that are not async themselves."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="modal-loopback", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float = 30) -> T:
        """Run to completion from another thread."""
        return self.submit(coroutine).result(timeout)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start from another thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def close(self) -> None:
        """Cancel what still runs, stop the loop and end the thread."""
        self.run(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    async def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.loop.shutdown_asyncgens()


class Service:
    """Modal's service on a free port of loopback.

    Args:
        handlers: RPC name to a function of the request: it returns the answer, or yields answers if the RPC streams.
            An RPC without one is answered UNIMPLEMENTED.
    """

    def __init__(self, loop: LoopThread, handlers: Mapping[str, Unary | Streaming]) -> None:
        self.calls: list[tuple[str, Message]] = []
        self._handlers = handlers
        self._loop = loop
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = loop.run(self._listen(listener))

    def requests(self, kind: type[M]) -> list[M]:
        """All recorded requests of one type, in order."""
        return [request for _, request in self.calls if isinstance(request, kind)]

    def close(self) -> None:
        """Stop listening and drop the connections."""

        async def stop() -> None:
            self._server.close()
            await self._server.wait_closed()

        self._loop.run(stop())

    async def _listen(self, listener: socket.socket) -> Server:
        server = Server([_Routes(self._answer)])
        await server.start(sock=listener)
        return server

    async def _answer(self, name: str, cardinality: Cardinality, stream: Stream[Any, Any]) -> None:
        request = await stream.recv_message()
        if request is None:  # the caller is gone
            return
        self.calls.append((name, request))
        handler = self._handlers.get(name)
        if handler is None:
            raise GRPCError(Status.UNIMPLEMENTED, f"{name} is not played here")
        answer = handler(request)
        if cardinality is Cardinality.UNARY_STREAM:
            async for message in answer:  # type: ignore[union-attr]  # a streaming handler yields
                await stream.send_message(message)
        else:
            await stream.send_message(await answer if isinstance(answer, Awaitable) else answer)


class _Routes:
    """Every route of Modal's service, each led to one function."""

    def __init__(self, answer: Callable[[str, Cardinality, Stream[Any, Any]], Awaitable[None]]) -> None:
        self._answer = answer

    def __mapping__(self) -> dict[str, Handler]:
        concrete = type("Concrete", (ModalClientBase,), dict.fromkeys(ModalClientBase.__abstractmethods__))
        return {path: self._route(path, handler) for path, handler in concrete().__mapping__().items()}

    def _route(self, path: str, handler: Handler) -> Handler:
        return handler._replace(func=partial(self._answer, path.rpartition("/")[2], handler.cardinality))
