"""One container of a deployed function: the real entrypoint in a child process, fed from an HTTP front."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from modal_proto import api_pb2

from tests.support.modal_loopback.control_plane import ControlPlane
from tests.support.modal_loopback.front import Call, Front
from tests.support.modal_loopback.http_server import HttpServer
from tests.support.modal_loopback.service import Service

TASK = "ta-1"
INHERITED = ("HOME", "LANG", "PATH", "TMPDIR")


class Container:
    """Starts what was deployed from the files that the deploy sent; an ASGI method is served under `url`.

    Args:
        control_plane: where the app was deployed; it must outlive the container.
        directory: an empty folder for the files, the arguments and the log.
        secrets: the values of named secrets, by variable.
        env: further variables, for what a real container's mounts would provide.
        function: the deployed function, or `Name.*` for a class.
        method: the ASGI method of the class.
    """

    def __init__(
        self,
        control_plane: ControlPlane,
        directory: Path,
        *,
        secrets: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        function: str = "Engine.*",
        method: str = "serve",
    ) -> None:
        self._function = function
        self._directory = directory
        self._deployed = control_plane.deployed()
        self._inputs: asyncio.Queue[api_pb2.FunctionGetInputsItem] = asyncio.Queue()
        self._calls: dict[str, Call] = {}
        self._results: dict[str, Future[api_pb2.FunctionPutOutputsItem]] = {}
        self._ready = threading.Event()
        self._told_to_stop = threading.Event()
        self._loop = control_plane.loop
        self.service = Service(self._loop, {**control_plane.handlers(), **self._handlers()})
        self._front = HttpServer(self._loop, Front(self._inputs, self._calls, method))
        self.url = self._front.url
        self._process = self._spawn({**(secrets or {}), **(env or {})})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_ready(self) -> bool:
        """True once the container has asked for requests."""
        return self._ready.is_set()

    @property
    def pid(self) -> int:
        """The entrypoint's process."""
        return self._process.pid

    @property
    def failure(self) -> str:
        """What the container told the platform when it could not start or end well."""
        return "".join(told.result.exception for told in self.service.requests(api_pb2.TaskResultRequest))

    @property
    def log(self) -> str:
        """What the process has written so far."""
        return (self._directory / "log").read_text("utf-8", errors="replace")

    def wait_ready(self, timeout: float = 60) -> Container:
        """Wait until the container asks for requests, or fail with its log once it has died."""
        step = 0.05
        for _ in range(round(timeout / step)):
            if self._ready.wait(step):
                return self
            if self._process.poll() is not None:
                raise RuntimeError(f"the container exited with {self._process.returncode}:\n{self.log}")
        raise TimeoutError(f"the container was not ready after {timeout} s:\n{self.log}")

    def run(self, function_input: api_pb2.FunctionInput, timeout: float = 60) -> api_pb2.FunctionPutOutputsItem:
        """Run a plain function once."""
        result = self._results["in-0"] = Future()
        item = api_pb2.FunctionGetInputsItem(input_id="in-0", function_call_id="fc-0", input=function_input)
        self._put(item)
        return result.result(timeout)

    @property
    def commits(self) -> int:
        """How often a volume was committed."""
        return self.calls("VolumeCommit")

    def ask_to_stop(self, timeout: float = 10) -> None:
        """Tell it to take no more requests and to end once those that run have; returns when it was told."""
        self._put(api_pb2.FunctionGetInputsItem(kill_switch=True))
        if not self._told_to_stop.wait(timeout):
            raise TimeoutError(f"the container did not ask for requests:\n{self.log}")

    def wait(self, timeout: float = 30) -> int:
        """The exit status, once the process has ended."""
        return self._process.wait(timeout)

    def close(self) -> None:
        """End the process, by force if it still runs, and the front."""
        self._process.kill()
        self._process.wait(10)
        self._front.close()
        self.service.close()

    def calls(self, name: str) -> int:
        """How often the container called an RPC."""
        return sum(called == name for called, _ in self.service.calls)

    def _put(self, item: api_pb2.FunctionGetInputsItem) -> None:
        self._loop.loop.call_soon_threadsafe(self._inputs.put_nowait, item)

    def _spawn(self, extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
        root = self._directory / "root"
        self._deployed.unpack(self._function, root)
        arguments = self._directory / "arguments"
        arguments.write_bytes(self._arguments().SerializeToString())
        environment = {
            **{key: os.environ[key] for key in INHERITED if key in os.environ},
            **self._deployed.environment(self._function),
            **extra,
            "MODAL_SERVER_URL": self.service.url,
            "MODAL_CONFIG_PATH": os.devnull,
            "MODAL_DISABLE_API_PROXY": "1",
            "MODAL_IS_REMOTE": "1",
            "MODAL_TASK_ID": TASK,
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(arguments),
            "PYTHONPATH": str(root),
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-m", "modal._container_entrypoint"]
        with (self._directory / "log").open("wb") as log:
            return subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def _arguments(self) -> api_pb2.ContainerArguments:
        published = self._deployed.published
        return api_pb2.ContainerArguments(
            task_id=TASK,
            function_id=published.function_ids[self._function],
            app_id=published.app_id,
            function_def=self._deployed.function(self._function),
            app_layout=self._deployed.layout(),
            environment_name="main",
        )

    def _handlers(self) -> dict[str, Any]:
        return {
            "ContainerHello": lambda _: Empty(),
            "ContainerHeartbeat": lambda _: api_pb2.ContainerHeartbeatResponse(),
            "FunctionGetInputs": self._next_input,
            "FunctionGetDynamicConcurrency": _all_slots,
            "FunctionCallGetDataIn": self._data_in,
            "FunctionCallPutDataOut": self._data_out,
            "FunctionPutOutputs": self._outputs,
            "TaskResult": lambda _: Empty(),
            "VolumeCommit": lambda _: api_pb2.VolumeCommitResponse(),
            "VolumeReload": lambda _: Empty(),
        }

    async def _next_input(self, _: api_pb2.FunctionGetInputsRequest) -> Message:
        self._ready.set()
        item = await self._inputs.get()
        if item.kill_switch:
            self._told_to_stop.set()
        return api_pb2.FunctionGetInputsResponse(inputs=[item])

    async def _data_in(self, request: api_pb2.FunctionCallGetDataRequest) -> AsyncIterator[Message]:
        call = self._call(request.function_call_id)
        while True:  # the container hangs up when the call is over
            yield await call.to_app.get()

    async def _data_out(self, request: api_pb2.FunctionCallPutDataRequest) -> Message:
        for chunk in request.data_chunks:
            self._call(request.function_call_id).answer(chunk)
        return Empty()

    async def _outputs(self, request: api_pb2.FunctionPutOutputsRequest) -> Message:
        for output in request.outputs:
            if result := self._results.pop(output.input_id, None):
                result.set_result(output)
            else:
                self._call(output.input_id).finish(output.result)
        return Empty()

    def _call(self, identity: str) -> Call:
        return self._calls[identity.partition("-")[2]]


async def _all_slots(request: api_pb2.FunctionGetDynamicConcurrencyRequest) -> Message:
    return api_pb2.FunctionGetDynamicConcurrencyResponse(concurrency=request.max_concurrency)
