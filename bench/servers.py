"""Servers under measurement: how each is started on a file, and what stops it for certain."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench import peers

ROOT = Path(__file__).parents[1]
MODEL_ID = "bench"
_START_TIMEOUT = 120.0
_STOP_TIMEOUT = 10.0


@dataclass(frozen=True)
class Setup:
    """What all servers are started with."""

    model: Path
    slots: int
    context: int
    """Tokens a slot."""
    threads: int = 1


Command = tuple[list[str], dict[str, str], str]
"""Arguments, environment, and the path that answers 200 once the model is loaded."""


def _ixmodal(engine: str) -> Callable[[Setup, int], Command]:
    def command(setup: Setup, port: int) -> Command:
        model = {"id": MODEL_ID, "engine": engine, "source": f"file://{setup.model}", "slots": setup.slots}
        model |= {"threads": setup.threads, "context_length": setup.context}
        # llama-server's own size of a physical batch; the other library reads no faster with more.
        model |= {"batch_size": 512} if engine == "llama_cpp" else {}
        spec = {"models": [model], "endpoint": {"max_queued": 1000}}
        start = "from ixmodal.cli import main; main()"
        arguments = [sys.executable, "-c", start, "serve", "--port", str(port)]
        return arguments, {"IXMODAL_SPEC": json.dumps(spec)}, "/readyz"

    return command


def _llama_server(setup: Setup, port: int) -> Command:
    options = {
        "--model": setup.model,
        "--alias": MODEL_ID,
        "--parallel": setup.slots,
        "--ctx-size": setup.slots * setup.context,
        "--threads": setup.threads,
        "--threads-batch": setup.threads,
        "--port": port,
    }
    words = [str(word) for pair in options.items() for word in pair]
    return [str(peers.LLAMA_SERVER), *words, "--no-webui"], {}, "/health"


def _llama_cpp_python(setup: Setup, port: int) -> Command:
    options = {
        "--model": setup.model,
        "--model_alias": MODEL_ID,
        "--n_ctx": setup.context,
        "--n_threads": setup.threads,
        "--n_threads_batch": setup.threads,
        # Kinder than its defaults: a new request would cut off the one that runs, and all logits would be computed.
        "--interrupt_requests": "false",
        "--logits_all": "false",
        "--verbose": "false",
        "--port": port,
    }
    words = [str(word) for pair in options.items() for word in pair]
    return [str(peers.PYTHON), "-m", "llama_cpp.server", *words], {}, "/v1/models"


COMMANDS: dict[str, Callable[[Setup, int], Command]] = {
    "ixmodal-ctransformers": _ixmodal("ctransformers"),
    "ixmodal-llama_cpp": _ixmodal("llama_cpp"),
    "llama-server": _llama_server,
    "llama-cpp-python": _llama_cpp_python,
}
NAMES = tuple(COMMANDS)


class Server:
    """A running server, in a process group of its own."""

    def __init__(self, name: str, setup: Setup) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.name, self.setup = name, setup
        self._folder = tempfile.TemporaryDirectory()
        self._log = Path(self._folder.name, "log")
        self.command, settings, self._ready_path = COMMANDS[name](setup, self.port)
        env = {key: value for key, value in os.environ.items() if not key.startswith("IXMODAL_SPEC")}
        env |= {"XDG_STATE_HOME": self._folder.name, **settings}
        self.began = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process that listens."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its first process lives."""
        return self._process.poll() is None

    @property
    def base_url(self) -> str:
        """As OpenAI clients have it."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def tail(self) -> str:
        """The end of what it printed."""
        return self._log.read_text("utf-8", "replace")[-1000:]

    def wait_ready(self, interval: float = 0.05) -> float:
        """Wait until the model is loaded; returns the seconds since its start. Raises `RuntimeError` if it never is."""
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=5) as client:
            while time.perf_counter() - self.began < _START_TIMEOUT:
                if self._process.poll() is not None:
                    raise RuntimeError(f"{self.name} ended with {self._process.returncode}: {self.tail}")
                try:
                    if client.get(self._ready_path).status_code == 200:
                        return time.perf_counter() - self.began
                except httpx.TransportError:
                    pass
                time.sleep(interval)
        raise RuntimeError(f"{self.name} was not ready within {_START_TIMEOUT:g} s: {self.tail}")

    def stop(self) -> None:
        """It and all that it started are gone when this returns."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_TIMEOUT)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()
