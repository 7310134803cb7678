"""`python -m tests.chaos.soak --requests 20000`: many requests, and no growth over 5 % of memory or descriptors.

Nine in ten are answered by the scripted engine, one in ten by the model that ships. Memory is that of the server and
its engine after a first tenth of the requests, against that after all of them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import psutil

from tests.chaos.engine_faults import spec_of
from tests.chaos.load import Load, Question, real, scripted
from tests.chaos.report import is_idle
from tests.chaos.tally import Outcome
from tests.support.server import DEMO, SCRIPTED, Server, serve, wait_for

_ALLOWED_GROWTH = 0.05
_LEAST_DESCRIPTORS = 2
"""Descriptors that may be open for a moment, such as those of the connection that asks."""


def _held(server: Server) -> dict[str, tuple[int, int]]:
    """Memory and descriptors of the server and of its engine."""
    wait_for(lambda: is_idle(server), 60)
    time.sleep(6)  # connections that are kept alive end after 5 s
    processes = {"server": psutil.Process(server.process.pid), "engine": server.engines()[0]}
    return {name: (process.memory_info().rss, process.num_fds()) for name, process in processes.items()}


def _send(server: Server, ask: Callable[[], Question], requests: int) -> list[str]:
    with Load(server, ask, clients=8, pause=0) as load:
        while load.tally.sent < requests:
            time.sleep(0.05)
    bad = load.tally.sent - load.tally[Outcome.COMPLETED]
    return [f"{bad} of {load.tally.sent} were not completed: {dict(load.tally.reasons)}"] if bad else []


def soak(name: str, arguments: tuple[str, ...], ask: Callable[[], Question], requests: int) -> list[str]:
    """Send so many requests; print what was held before and after. Returns what is not well."""
    began = time.monotonic()
    with serve(arguments, spec_of()) as server:
        problems = _send(server, ask, requests // 10)
        before = _held(server)
        problems += _send(server, ask, requests - requests // 10)
        after = _held(server)
        if server.health()["restarts"]:
            problems.append("the engine was restarted")
    for process, (memory, descriptors) in before.items():
        memory_after, descriptors_after = after[process]
        growth = memory_after / memory - 1
        sizes = f"{memory / 2**20:.1f} → {memory_after / 2**20:.1f} | {growth:+.1%}"
        print(f"| {name} | {requests} | {process} | {sizes} | {descriptors} → {descriptors_after} |", flush=True)
        if growth > _ALLOWED_GROWTH:
            problems.append(f"the {process} grew by {growth:.1%}")
        if descriptors_after > max(descriptors * (1 + _ALLOWED_GROWTH), descriptors + _LEAST_DESCRIPTORS):
            problems.append(f"the {process} holds {descriptors_after - descriptors} more descriptors")
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return problems


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    requests = parser.parse_args().requests
    print("| engine | requests | process | RSS MiB | growth | fds |", "|---" * 6 + "|", sep="\n", flush=True)
    problems = soak("shipped model", DEMO, real, requests // 10)
    problems += soak("scripted", SCRIPTED, lambda: scripted(""), requests - requests // 10)
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
