"""A container of a deployed function: the real entrypoint in a child process, and what it asks the platform."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from modal_proto import api_pb2

from tests.support.modal_loopback.control_plane import ControlPlane
from tests.support.modal_loopback.service import Service

TASK = "ta-1"
INHERITED = ("HOME", "LANG", "PATH", "TMPDIR")


class ContainerProcess:
    """Starts what was deployed, from the files that the deploy sent.

    A function that snapshots are taken of waits at its snapshot until `restore` is called. There is no GPU.

    Args:
        control_plane: where the app was deployed; it must outlive the container.
        directory: an empty folder for the files, the arguments and the log.
        function: the deployed function, or `Name.*` for a class.
        secrets: the values of named secrets, by variable.
        env: further variables, for what a real container's mounts would provide.
    """

    def __init__(
        self,
        control_plane: ControlPlane,
        directory: Path,
        *,
        function: str,
        secrets: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._function = function
        self._directory = directory
        self._deployed = control_plane.deployed()
        self._ready = threading.Event()
        self._at_snapshot = threading.Event()
        self._restore_state = directory / "restore.json"
        self._loop = control_plane.loop
        self.service = Service(self._loop, {**control_plane.handlers(), **self._handlers()})
        self._process = self._spawn({**(secrets or {}), **(env or {})})
        threading.Thread(target=self._see_off, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_ready(self) -> bool:
        """True once the container takes requests."""
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

    @property
    def commits(self) -> int:
        """How often a volume was committed."""
        return self.calls("VolumeCommit")

    def calls(self, name: str) -> int:
        """How often the container called an RPC."""
        return sum(called == name for called, _ in self.service.calls)

    def wait_ready(self, timeout: float = 60) -> Self:
        """Wait until the container takes requests, or fail with its log once it has died."""
        return self._wait_for(self._ready, "ready", timeout)

    def wait_snapshot(self, timeout: float = 60) -> Self:
        """Wait until the container asks for its snapshot."""
        return self._wait_for(self._at_snapshot, "at its snapshot", timeout)

    def restore(self) -> None:
        """Go on after the snapshot, as a container does that was made from it."""
        (self._directory / "restoring").write_text('{"task_id": "ta-2"}')
        (self._directory / "restoring").rename(self._restore_state)

    def terminate(self) -> None:
        """Tell the process to end, as the platform does."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process as the machine's loss would."""
        self._process.kill()

    def wait(self, timeout: float = 30) -> int:
        """The exit status, once the process has ended."""
        return self._process.wait(timeout)

    def close(self) -> None:
        """End the process, by force if it still runs."""
        self._process.kill()
        self._process.wait(10)
        self.service.close()

    def _on_end(self) -> None:
        """What the platform does, on its loop, once the process is gone."""

    def _see_off(self) -> None:
        self._process.wait()
        if not self._loop.loop.is_closed():
            self._loop.loop.call_soon_threadsafe(self._on_end)

    def _wait_for(self, event: threading.Event, what: str, timeout: float) -> Self:
        step = 0.02
        for _ in range(round(timeout / step)):
            if event.wait(step):
                return self
            if self._process.poll() is not None:
                raise RuntimeError(f"the container exited with {self._process.returncode}:\n{self.log}")
        raise TimeoutError(f"the container was not {what} after {timeout} s:\n{self.log}")

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
            "MODAL_ENABLE_SNAP_RESTORE": "1",
            "MODAL_RESTORE_STATE_PATH": str(self._restore_state),
            "PYTHONPATH": str(root),
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-m", "modal._container_entrypoint"]
        with (self._directory / "log").open("wb") as log:
            return subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def _arguments(self) -> api_pb2.ContainerArguments:
        published = self._deployed.published
        function = api_pb2.Function()
        function.CopyFrom(self._deployed.function(self._function))
        function.resources.gpu_config.Clear()
        function.is_checkpointing_function = function.checkpointing_enabled
        return api_pb2.ContainerArguments(
            task_id=TASK,
            function_id=published.function_ids[self._function],
            app_id=published.app_id,
            function_def=function,
            app_layout=self._deployed.layout(),
            environment_name="main",
            checkpoint_id="ch-1" if function.checkpointing_enabled else "",
        )

    def _handlers(self) -> dict[str, Any]:
        return {
            "ContainerCheckpoint": self._checkpoint,
            "ContainerHello": lambda _: Empty(),
            "ContainerHeartbeat": lambda _: api_pb2.ContainerHeartbeatResponse(),
            "ContainerServerLifecycleReady": self._server_is_ready,
            "TaskResult": lambda _: Empty(),
            "VolumeCommit": lambda _: api_pb2.VolumeCommitResponse(),
            "VolumeReload": lambda _: Empty(),
        }

    def _checkpoint(self, _: api_pb2.ContainerCheckpointRequest) -> Message:
        self._at_snapshot.set()
        return Empty()

    def _server_is_ready(self, _: api_pb2.ContainerServerLifecycleReadyRequest) -> Message:
        self._ready.set()
        return Empty()
