"""A server under thousands of generated requests: schemathesis makes them of the server's own document."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

from hypothesis import HealthCheck, given, settings

from tests.support.odd_requests import OddRequest, odd_requests
from tests.support.server import Server

PHASES = ("coverage", "fuzzing", "stateful")
_NOT_CHECKED = "positive_data_acceptance"
"""A schema can't tell which models are served, nor that two fields exclude each other: a 400 or 404 is right then."""
_ONLY_AT_BORDERS = "negative_data_rejection"
"""The coverage phase knows what it breaks; among random mutations is now and then a body that is valid after all."""
_OF_ADMINS = "^/models/(load|unload|events)$"
"""Who may unload the model takes it from all the other cases, and events of models last as long as one likes."""
_TIMEOUT = 1800


@dataclass
class Outcome:
    """How many requests were sent, and how many of them each operation accepted."""

    cases: int = 0
    odd: int = 0
    accepted: dict[str, int] = field(default_factory=dict)

    def __iadd__(self, other: Outcome) -> Self:
        self.cases += other.cases
        self.odd += other.odd
        for name, count in other.accepted.items():
            self.accepted[name] = self.accepted.get(name, 0) + count
        return self


def by_schema(url: str, *, phases: Sequence[str], examples: int, deterministic: bool = False) -> Outcome:
    """Send what the document describes, and what it forbids; fails with schemathesis' report. One run a phase.

    Checked are, for each response: no 5xx, status, headers, media type and content as declared, requests that the
    document forbids refused, unknown methods refused, nothing there that was deleted.

    Args:
        url: the server.
        phases: `coverage` (each keyword's borders), `fuzzing` (`examples` an operation), `stateful` (along the links).
        examples: cases an operation, or scenarios.
        deterministic: True for the same cases each time.
    """
    found = Outcome()
    for phase in phases:
        found += _run(url, phase, examples, deterministic=deterministic)
    return found


def _run(url: str, phase: str, examples: int, *, deterministic: bool) -> Outcome:
    unchecked = _NOT_CHECKED if phase == "coverage" else f"{_NOT_CHECKED},{_ONLY_AT_BORDERS}"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", "--no-color"]
        command += ["--phases", phase, "--max-examples", str(examples), "--continue-on-failure"]
        command += ["--checks", "all", "--exclude-checks", unchecked, "--request-timeout", "60"]
        command += ["--exclude-path-regex", _OF_ADMINS]
        command += ["--report", "json", "--report-json-path", str(report), "--output-sanitize", "false"]
        command += ["--generation-deterministic"] if deterministic else ["--generation-database", "none"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        assert done.returncode == 0, _within(done.stdout) + done.stderr[-2000:]
        found = json.loads(report.read_text())
    accepted = {name: sum(phase["accepted"] for phase in of.values()) for name, of in found["valid_rates"].items()}
    return Outcome(found["test_cases"]["generated"], accepted=accepted)


def by_oddities(server: Server, cases: int, *, deterministic: bool = False) -> Outcome:
    """Post what no schema allows; fails with the first request that gets a 5xx, or an error without envelope."""
    connection = HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), timeout=60)

    @settings(
        max_examples=cases,
        deadline=None,
        derandomize=deterministic,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(odd_requests())
    def send(odd: OddRequest) -> None:
        status, answer = odd.send(connection)
        assert status < 500, answer
        if status >= 400:
            assert set(json.loads(answer)["error"]) == {"message", "type", "param", "code"}, answer

    with closing(connection):
        send()
    return Outcome(cases, odd=cases)


@contextmanager
def unharmed(server: Server) -> Iterator[None]:
    """Assert that at the end the same engine processes run as at the beginning, and that all is well."""
    before = sorted(process.pid for process in server.engines())
    assert before
    yield
    assert sorted(process.pid for process in server.engines()) == before, server.log[-4000:]
    health: dict[str, Any] = server.health()
    assert (health["status"], health["restarts"]) == ("ok", 0)
    assert "Traceback" not in server.log, server.log[-8000:]


def _within(report: str) -> str:
    """The report from its first failure on; a request may be long."""
    return report[max(0, report.find("= FAILURES =")) :][:40_000]
