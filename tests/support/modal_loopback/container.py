"""Containers as the platform uses them: fed with inputs from an HTTP front, or reached at their port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from modal_proto import api_pb2

from tests.support.modal_loopback.control_plane import ControlPlane
from tests.support.modal_loopback.front import Call, Front
from tests.support.modal_loopback.process import ContainerProcess


class Container(ContainerProcess):
    """A container of a function or a class, which asks for inputs; an ASGI method is served under `url`.

    Args:
        front: where its requests come from; containers that share one share its queue. Unset: a front of its own.
        started: what `ContainerProcess` takes.
    """

    def __init__(
        self,
        control_plane: ControlPlane,
        directory: Path,
        *,
        front: Front | None = None,
        function: str = "Engine.*",
        **started: Any,
    ) -> None:
        self._front = front or Front(control_plane.loop)
        self._owns_front = front is None
        self._orders: asyncio.Queue[api_pb2.FunctionGetInputsItem] = asyncio.Queue()
        self._taken: list[Call] = []
        self._results: dict[str, Future[api_pb2.FunctionPutOutputsItem]] = {}
        self._told_to_stop = threading.Event()
        super().__init__(control_plane, directory, function=function, **started)

    @property
    def url(self) -> str:
        """Where the front listens."""
        return self._front.url

    @property
    def requests(self) -> int:
        """How many requests it has taken."""
        return len(self._taken)

    def run(self, function_input: api_pb2.FunctionInput, timeout: float = 60) -> api_pb2.FunctionPutOutputsItem:
        """Run a plain function once."""
        result = self._results["in-0"] = Future()
        self._order(api_pb2.FunctionGetInputsItem(input_id="in-0", function_call_id="fc-0", input=function_input))
        return result.result(timeout)

    def ask_to_stop(self, timeout: float = 10) -> None:
        """Tell it to take no more requests and to end once those that run have; returns when it was told."""
        self._order(api_pb2.FunctionGetInputsItem(kill_switch=True))
        if not self._told_to_stop.wait(timeout):
            raise TimeoutError(f"the container did not ask for requests:\n{self.log}")

    def close(self) -> None:
        """End the process, by force if it still runs, and its own front."""
        super().close()
        if self._owns_front:
            self._front.close()

    def _on_end(self) -> None:
        for call in self._taken:
            call.lose()

    def _order(self, item: api_pb2.FunctionGetInputsItem) -> None:
        self._loop.loop.call_soon_threadsafe(self._orders.put_nowait, item)

    def _handlers(self) -> dict[str, Any]:
        return super()._handlers() | {
            "FunctionGetInputs": self._next_input,
            "FunctionGetDynamicConcurrency": _all_slots,
            "FunctionCallGetDataIn": self._data_in,
            "FunctionCallPutDataOut": self._data_out,
            "FunctionPutOutputs": self._outputs,
        }

    async def _next_input(self, _: api_pb2.FunctionGetInputsRequest) -> Message:
        self._ready.set()
        order = asyncio.ensure_future(self._orders.get())
        call = asyncio.ensure_future(self._front.waiting.get())
        try:
            await asyncio.wait([order, call], return_when=asyncio.FIRST_COMPLETED)
        finally:
            order.cancel()
            call.cancel()
        if order.done() and not order.cancelled():
            if call.done() and not call.cancelled():
                self._front.waiting.put_nowait(call.result())
            item = order.result()
            if item.kill_switch:
                self._told_to_stop.set()
        else:
            self._taken.append(call.result())
            item = call.result().as_input()
        return api_pb2.FunctionGetInputsResponse(inputs=[item])

    async def _data_in(self, request: api_pb2.FunctionCallGetDataRequest) -> AsyncIterator[Message]:
        call = self._front.call(request.function_call_id)
        while True:  # the container hangs up when the call is over
            yield await call.to_app.get()

    async def _data_out(self, request: api_pb2.FunctionCallPutDataRequest) -> Message:
        for chunk in request.data_chunks:
            self._front.call(request.function_call_id).answer(chunk)
        return Empty()

    async def _outputs(self, request: api_pb2.FunctionPutOutputsRequest) -> Message:
        for output in request.outputs:
            if result := self._results.pop(output.input_id, None):
                result.set_result(output)
            else:
                self._front.call(output.input_id).finish(output.result)
        return Empty()


class ServerContainer(ContainerProcess):
    """A container of an `app.server`, which listens itself."""

    def __init__(
        self, control_plane: ControlPlane, directory: Path, *, function: str = "Server", **started: Any
    ) -> None:
        super().__init__(control_plane, directory, function=function, **started)
        self.url = f"http://127.0.0.1:{self._deployed.function(function).http_config.port}"


async def _all_slots(request: api_pb2.FunctionGetDynamicConcurrencyRequest) -> Message:
    return api_pb2.FunctionGetDynamicConcurrencyResponse(concurrency=request.max_concurrency)
