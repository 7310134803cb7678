"""What a scenario measured, as a row of a table, and whether it is well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil

from tests.chaos.tally import Outcome, Tally
from tests.support.server import Server, wait_for

_ALLOWED_MEMORY = 8 * 1024 * 1024
"""Bytes that a server may have grown by in one scenario: buffers and caches that a first error fills."""
_ALLOWED_DESCRIPTORS = 2
HEAD = (
    "| fault | times | sent | completed | refused | failed honestly | LOST | engine restarts | server RSS MiB | fds |"
)


@dataclass
class Usage:
    """What a server process holds."""

    memory: int
    descriptors: int

    @classmethod
    def of(cls, server: Server) -> Usage:
        """Of now."""
        process = psutil.Process(server.process.pid)
        return cls(process.memory_info().rss, process.num_fds())


@dataclass
class Row:
    """One scenario."""

    name: str
    faults: int = 0
    tally: Tally = field(default_factory=Tally)
    restarts: int = 0
    before: Usage | None = None
    after: Usage | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = " | ".join(str(self.tally[outcome]) for outcome in Outcome)
        memory = descriptors = "ended"
        if self.before and self.after:
            memory = f"{self.before.memory / 2**20:.1f} → {self.after.memory / 2**20:.1f}"
            descriptors = f"{self.before.descriptors} → {self.after.descriptors}"
        head = f"| {self.name} | {self.faults} | {self.tally.sent} | {counts} | {self.restarts}"
        return f"{head} | {memory} | {descriptors} |"

    def check(self, *, completed: bool = True) -> None:
        """Note what is not well: a loss, nothing completed at all, memory or descriptors that did not come back."""
        if self.tally[Outcome.LOST]:
            lost = [f"{reason} ({count})" for reason, count in self.tally.reasons.items() if reason.startswith("lost")]
            self.problems.append("; ".join(lost))
        if completed and not self.tally[Outcome.COMPLETED]:
            self.problems.append("nothing was completed")
        if self.before and self.after:
            if self.after.memory - self.before.memory > _ALLOWED_MEMORY:
                self.problems.append("memory did not come back")
            if self.after.descriptors - self.before.descriptors > _ALLOWED_DESCRIPTORS:
                self.problems.append("descriptors did not come back")


def is_idle(server: Server) -> bool:
    """Whether the server is well and nobody is served."""
    health = server.health()
    return (health["status"], health["running"], health["queued"]) == ("ok", 0, 0)


@contextmanager
def measured(row: Row, server: Server) -> Iterator[None]:
    """Measure a server that must be alive, idle and well before the block, and must come to that again after it."""
    wait_for(lambda: is_idle(server), 30)
    row.before = Usage.of(server)
    yield
    if server.process.poll() is not None:
        row.problems.append(f"the server ended with {server.process.returncode}: {server.log[-500:]}")
        return
    wait_for(lambda: is_idle(server), 60, lambda: server.log[-2000:])
    wanted = row.before.descriptors + _ALLOWED_DESCRIPTORS
    with suppress(AssertionError):  # the check says so
        wait_for(lambda: Usage.of(server).descriptors <= wanted, 10)
    row.after = Usage.of(server)
    row.restarts = server.health()["restarts"]
    if "Traceback" in server.log:
        row.problems.append("a traceback in the log: " + server.log[server.log.index("Traceback") :][-1500:])
