"""What `modal deploy` and `modal run` talk to: it hands out ids, keeps what was declared and says it was built."""

from __future__ import annotations

import asyncio
import os
import queue
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from hashlib import md5
from itertools import count
from pathlib import Path
from typing import IO, Any, Self

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from modal_proto import api_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.support.modal_loopback.deployed import Deployed, definition, handle_metadata
from tests.support.modal_loopback.dicts import Dicts
from tests.support.modal_loopback.http_server import HttpServer
from tests.support.modal_loopback.service import LoopThread, Service

IMAGE_BUILDER = "2025.06"
BUILT = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
CLIENT_ENVIRONMENT = {
    "MODAL_TOKEN_ID": "ak-loopback",
    "MODAL_TOKEN_SECRET": "as-loopback",
    "MODAL_CONFIG_PATH": os.devnull,
    "MODAL_DISABLE_API_PROXY": "1",
    "MODAL_BUILD_VALIDATION": "ignore",  # somebody may be editing the checkout
}


@dataclass(frozen=True)
class RemoteCall:
    """A function call of `modal run`, waiting for its output."""

    function_id: str
    input: api_pb2.FunctionInput
    output: Future[api_pb2.FunctionPutOutputsItem] = field(default_factory=Future)


class ControlPlane:
    """Modal's control plane, as far as deploys need it. Use it as a context manager."""

    def __init__(self) -> None:
        self.loop = LoopThread()
        self._ids = count(1)
        self._objects: dict[str, Message] = {}
        self._deployed: dict[str, str] = {}
        self._blobs: dict[str, bytes] = {}
        self._files: dict[str, bytes] = {}
        self._calls: dict[str, RemoteCall] = {}
        self.dicts = Dicts()
        self.remote_calls: queue.Queue[RemoteCall] = queue.Queue()
        self.service = Service(self.loop, self.handlers())
        self._store = HttpServer(self.loop, self._receive_blob)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        self._store.close()
        self.service.close()
        self.loop.close()

    def modal(
        self, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run the real `modal` CLI against this control plane."""
        command, environment = self._command(arguments, env)
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def start(
        self, *arguments: str, cwd: Path, log: IO[str], env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start the real `modal` CLI for a command that goes on; it writes to `log`."""
        command, environment = self._command(arguments, env)
        return subprocess.Popen(command, cwd=cwd, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True)

    def _command(self, arguments: Sequence[str], env: Mapping[str, str] | None) -> tuple[list[str], dict[str, str]]:
        environment = {**os.environ, **CLIENT_ENVIRONMENT, "MODAL_SERVER_URL": self.service.url, **(env or {})}
        return [sys.executable, "-m", "modal", *arguments], environment

    def deployed(self) -> Deployed:
        """The app as it was last published."""
        return Deployed(self.service.requests(api_pb2.AppPublishRequest)[-1], self._objects, self._files)

    def handlers(self) -> dict[str, Any]:
        """What is answered, by RPC name."""
        return {
            "AppCreate": self._create_app,
            "AppGetByDeploymentName": self._find_app,
            "AppGetLayout": self._layout,
            "AppHeartbeat": _done,
            "AppClientDisconnect": _done,
            "AppGetLogs": _no_logs,
            "AppPublish": self._publish,
            "BlobCreate": self._create_blob,
            "ClassCreate": self._create_class,
            "ClientHello": lambda _: api_pb2.ClientHelloResponse(),
            "EnvironmentGetOrCreate": self._environment,
            "FunctionPrecreate": self._precreate_function,
            "FunctionCreate": self._create_function,
            "FunctionMap": self._call_function,
            "FunctionGetOutputs": self._wait_for_output,
            "ImageGetOrCreate": self._create_image,
            "ImageJoinStreaming": _built,
            "MountGetOrCreate": self._create_mount,
            "MountBatchedCheckExistence": self._missing_files,
            "MountPutFile": self._put_file,
            "SecretGetOrCreate": self._create_secret,
            "VolumeGetOrCreate": self._create_volume,
            **self.dicts.handlers(),
        }

    def _keep(self, prefix: str, declared: Message) -> str:
        identity = f"{prefix}-{next(self._ids)}"
        self._objects[identity] = declared
        return identity

    def _create_app(self, request: api_pb2.AppCreateRequest) -> Message:
        return api_pb2.AppCreateResponse(app_id=self._keep("ap", request), app_page_url="http://127.0.0.1/app")

    def _find_app(self, request: api_pb2.AppGetByDeploymentNameRequest) -> Message:
        return api_pb2.AppGetByDeploymentNameResponse(app_id=self._deployed.get(request.name, ""))

    def _layout(self, _: api_pb2.AppGetLayoutRequest) -> Message:
        return api_pb2.AppGetLayoutResponse(app_layout=self.deployed().layout())

    def _publish(self, request: api_pb2.AppPublishRequest) -> Message:
        if request.app_state == api_pb2.APP_STATE_DEPLOYED:
            self._deployed[request.name] = request.app_id
        return api_pb2.AppPublishResponse(url="http://127.0.0.1/app", deployed_at=time.time())

    def _create_class(self, request: api_pb2.ClassCreateRequest) -> Message:
        return api_pb2.ClassCreateResponse(class_id=request.existing_class_id or self._keep("cs", request))

    def _environment(self, _: api_pb2.EnvironmentGetOrCreateRequest) -> Message:
        settings = api_pb2.EnvironmentSettings(image_builder_version=IMAGE_BUILDER)
        metadata = api_pb2.EnvironmentMetadata(name="main", settings=settings)
        return api_pb2.EnvironmentGetOrCreateResponse(environment_id="en-1", metadata=metadata)

    def _precreate_function(self, request: api_pb2.FunctionPrecreateRequest) -> Message:
        identity = request.existing_function_id or self._keep("fu", request)
        metadata = handle_metadata(identity, request)
        return api_pb2.FunctionPrecreateResponse(function_id=identity, handle_metadata=metadata)

    def _create_function(self, request: api_pb2.FunctionCreateRequest) -> Message:
        self._objects[request.existing_function_id] = request
        declared = definition(request)
        handle = handle_metadata(request.existing_function_id, declared)
        shown = api_pb2.Function()
        shown.CopyFrom(declared)
        for name, method in shown.method_definitions.items():
            method.web_url = handle.method_handle_metadata[name].web_url
        return api_pb2.FunctionCreateResponse(
            function_id=request.existing_function_id,
            function=shown,
            function_data=_function_data(request),
            handle_metadata=handle,
        )

    def _call_function(self, request: api_pb2.FunctionMapRequest) -> Message:
        call = RemoteCall(request.function_id, request.pipelined_inputs[0].input)
        identity = self._keep("fc", request)
        self._calls[identity] = call
        self.remote_calls.put(call)
        accepted = api_pb2.FunctionPutInputsResponseItem(input_id=identity.replace("fc-", "in-"))
        return api_pb2.FunctionMapResponse(function_call_id=identity, pipelined_inputs=[accepted])

    async def _wait_for_output(self, request: api_pb2.FunctionGetOutputsRequest) -> Message:
        output = await asyncio.wrap_future(self._calls[request.function_call_id].output)
        item = api_pb2.FunctionGetOutputsItem(result=output.result, data_format=output.data_format)
        return api_pb2.FunctionGetOutputsResponse(outputs=[item])

    def _create_image(self, request: api_pb2.ImageGetOrCreateRequest) -> Message:
        metadata = api_pb2.ImageMetadata(image_builder_version=IMAGE_BUILDER)
        return api_pb2.ImageGetOrCreateResponse(image_id=self._keep("im", request), result=BUILT, metadata=metadata)

    def _create_mount(self, request: api_pb2.MountGetOrCreateRequest) -> Message:
        return api_pb2.MountGetOrCreateResponse(mount_id=self._keep("mo", request))

    def _missing_files(self, request: api_pb2.MountBatchedCheckExistenceRequest) -> Message:
        missing = [digest for digest in request.sha256_hex_hashes if digest not in self._files]
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    def _put_file(self, request: api_pb2.MountPutFileRequest) -> Message:
        self._files[request.sha256_hex] = self._blobs[request.data_blob_id] if request.data_blob_id else request.data
        return api_pb2.MountPutFileResponse(exists=True)

    def _create_blob(self, _: api_pb2.BlobCreateRequest) -> Message:
        identity = f"bl-{next(self._ids)}"
        urls = api_pb2.UploadUrlList(items=[f"{self._store.url}/{identity}"])
        return api_pb2.BlobCreateResponse(blob_ids=[identity], upload_urls=urls)

    async def _receive_blob(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        content = self._blobs[request.url.path[1:]] = await request.body()
        await Response(headers={"ETag": md5(content, usedforsecurity=False).hexdigest()})(scope, receive, send)

    def _create_secret(self, request: api_pb2.SecretGetOrCreateRequest) -> Message:
        return api_pb2.SecretGetOrCreateResponse(secret_id=self._keep("st", request))

    def _create_volume(self, request: api_pb2.VolumeGetOrCreateRequest) -> Message:
        metadata = api_pb2.VolumeMetadata(name=request.deployment_name)
        return api_pb2.VolumeGetOrCreateResponse(volume_id=self._keep("vo", request), metadata=metadata)


def _function_data(request: api_pb2.FunctionCreateRequest) -> api_pb2.FunctionData:
    if request.function_data.ranked_functions:
        return request.function_data
    ranked = api_pb2.FunctionData.RankedFunction(rank=0, function=request.function)
    return api_pb2.FunctionData(function_name=request.function.function_name, ranked_functions=[ranked])


def _done(_: Message) -> Message:
    return Empty()


async def _built(_: Message) -> AsyncIterator[Message]:
    metadata = api_pb2.ImageMetadata(image_builder_version=IMAGE_BUILDER)
    yield api_pb2.ImageJoinStreamingResponse(result=BUILT, eof=True, metadata=metadata)


async def _no_logs(_: Message) -> AsyncIterator[Message]:
    yield api_pb2.TaskLogsBatch(app_done=True)
