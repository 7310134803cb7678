"""Real server processes for tests: started, waited for, stopped, their output kept."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).parents[2]
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 20.0


class Server:
    """A server process and where to reach it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self._log = log

    @property
    def log(self) -> str:
        """All that the process printed so far."""
        return self._log.read_text("utf-8", "replace")

    def health(self) -> dict[str, Any]:
        """The body of `/health`."""
        found: dict[str, Any] = httpx.get(f"{self.url}/health").json()
        return found

    def engines(self) -> list[psutil.Process]:
        """The engine processes below this server."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it ended just now
                if "ixmodal.engine.worker" in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def wait_ready(self) -> None:
        """Wait until `/readyz` says so; fails with the log if the process ends or takes too long."""
        wait_for(self._is_ready, _START_TIMEOUT, lambda: f"not ready:\n{self.log}")

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log}"
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Signal the process and wait for its end. Returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(by)
        return self.process.wait(_STOP_TIMEOUT)


@contextmanager
def launch(arguments: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run `python -m ARGUMENTS --port FREE` from the repository's root; it is gone when the block ends."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        state = {"XDG_STATE_HOME": str(Path(folder, "state"))}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("IXMODAL_")}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments, "--port", str(port)],
                cwd=ROOT,
                env={**inherited, **state, "PYTHONUNBUFFERED": "1", **(env or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield Server(process, port, log)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


@contextmanager
def serve(arguments: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """`launch`, and wait until it is ready."""
    with launch(arguments, env) as server:
        server.wait_ready()
        yield server


DEMO = ("uvicorn", "ixmodal.asgi:app")
SCRIPTED = ("uvicorn", "--factory", "tests.support.scripted:build")


def free_port() -> int:
    """A port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Any, timeout: float, explain: Any = lambda: "") -> None:
    """Poll until `condition()` is true; fails with `explain()` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:g} s in vain {explain()}"
        time.sleep(0.02)
