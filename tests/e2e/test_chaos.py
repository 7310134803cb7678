"""The chaos suite in short: the same faults for a few seconds. `make chaos` runs all of them for a minute each."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.chaos import client_faults, engine_faults, system_faults
from tests.chaos.report import Row
from tests.chaos.tally import Outcome, judge_error


def of_engine(seconds: float) -> Row:
    """Deaths at random moments."""
    return engine_faults.dies(seconds, signal.SIGKILL, of_demo=False)


@pytest.mark.parametrize(
    "scenario",
    [
        of_engine,
        engine_faults.will_not_start,
        system_faults.disk_full,
        system_faults.no_descriptors,
        client_faults.half_open,
        system_faults.is_told_to_end,
    ],
)
def test_nothing_is_lost(scenario: Callable[[float], Row]) -> None:
    row = scenario(3)
    assert not row.problems, f"{row.problems} {dict(row.tally.reasons)}"
    assert row.faults


def test_what_counts_as_lost() -> None:
    def error(code: str | None) -> dict[str, object]:
        return {"error": {"message": "m", "type": "t", "param": None, "code": code}}

    assert judge_error(429, {"retry-after": "1"}, error("server_busy"))[0] is Outcome.REFUSED
    assert judge_error(429, {}, error("server_busy"))[0] is Outcome.LOST
    assert judge_error(503, {}, error("engine_died"))[0] is Outcome.FAILED
    assert judge_error(500, {}, error("internal_error"))[0] is Outcome.LOST
    assert judge_error(500, {}, "Internal Server Error")[0] is Outcome.LOST
    assert judge_error(400, {}, error("invalid_value"))[0] is Outcome.LOST
