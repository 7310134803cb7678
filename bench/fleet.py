"""Servers side by side on the same file, driven one at a time by the generator of `ixmodal bench`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bench.processes import processor_seconds
from bench.servers import MODEL_ID, Server, Setup
from ixmodal.benchmark.load import Load, Run
from ixmodal.benchmark.summary import Summary, summarise

_START_OF_CLIENT = 10.0
_REPLACEMENTS = 3
"""Of one server, before it is left out: each may have cost a whole timeout."""


@dataclass
class Measured:
    """One run against one server."""

    run: Run
    summary: Summary
    shares: dict[str, float] = field(default_factory=dict)
    """Of one core: `server`, `engine`, and `others`, which stand idle and should be near 0."""


class Fleet:
    """Starts servers, drives them, and replaces one that hangs or dies."""

    def __init__(self, names: Sequence[str], setup: Setup, body: dict[str, dict[str, Any]] | None = None) -> None:
        """`body` has further fields of each request, by server."""
        self.names, self.setup = tuple(names), setup
        self._body = body or {}
        self._servers: dict[str, Server] = {}
        self._replaced = Counter[str]()
        self.problems: list[str] = []

    def start(self) -> None:
        """All of them. One that does not start is noted in `problems` and left out."""
        for name in self.names:
            self._start(name)

    def _start(self, name: str) -> None:
        server = Server(name, self.setup)
        try:
            server.wait_ready()
        except RuntimeError as error:
            server.stop()
            self._note(name, str(error))
        else:
            self._servers[name] = server

    def stop(self) -> None:
        """All of them."""
        while self._servers:
            self._servers.popitem()[1].stop()

    def server(self, name: str) -> Server | None:
        """One that runs."""
        return self._servers.get(name)

    def drive(self, name: str, timeout: float = 60.0, **fields: Any) -> Measured | None:
        """Put a load on one server; None where it could not be measured, for a reason noted in `problems`."""
        server = self._servers.get(name)
        if server is None:
            return None
        body = {"ignore_eos": True, **self._body.get(name, {}), **fields.pop("body", {})}
        load = Load(base_url=server.base_url, model=MODEL_ID, timeout=timeout, body=body, **fields)
        before = self._spent()
        began = time.perf_counter()
        try:
            run = generate(load, timeout + _START_OF_CLIENT)
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError, msgspec.DecodeError) as error:
            self._note(name, f"no figures: {error}")
            self._replace(name)
            return None
        passed = time.perf_counter() - began
        measured = Measured(run, summarise(run), self._shares(name, before, passed, run.seconds))
        if measured.summary.complete < measured.summary.requests:
            self._note(name, f"{measured.summary.outcomes} {measured.summary.detail}")
            if "timed out" in measured.summary.outcomes or not server.is_running:
                self._replace(name)
        return measured

    def _spent(self) -> dict[str, dict[str, float]]:
        return {name: processor_seconds(server.pid) for name, server in self._servers.items()}

    def _shares(self, name: str, before: dict[str, dict[str, float]], passed: float, busy: float) -> dict[str, float]:
        used = {
            server: {role: value - before[server].get(role, 0.0) for role, value in roles.items()}
            for server, roles in self._spent().items()
        }
        others = sum(sum(roles.values()) for server, roles in used.items() if server != name)
        return {role: value / busy for role, value in used.get(name, {}).items()} | {"others": others / passed}

    def _replace(self, name: str) -> None:
        self._servers.pop(name).stop()
        self._replaced[name] += 1
        if self._replaced[name] > _REPLACEMENTS:
            self._note(name, "left out from here on")
        else:
            self._start(name)

    def _note(self, name: str, problem: str) -> None:
        self.problems.append(f"{name}: {problem}")
        print(f"    {name}: {problem}", flush=True)


@contextmanager
def fleet(names: Sequence[str], setup: Setup, body: dict[str, dict[str, Any]] | None = None) -> Iterator[Fleet]:
    """A fleet that runs, and is gone when the block ends."""
    servers = Fleet(names, setup, body)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


def generate(load: Load, timeout: float) -> Run:
    """Run the generator in a process of its own. Raises what `subprocess.run` raises."""
    done = subprocess.run(
        [sys.executable, "-m", "ixmodal.benchmark"],
        input=msgspec.json.encode(load),
        stdout=subprocess.PIPE,
        check=True,
        timeout=timeout,
    )
    return msgspec.json.decode(done.stdout, type=Run)
