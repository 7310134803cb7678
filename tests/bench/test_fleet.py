"""The benchmark's own servers, with real processes on the model that ships."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from bench.fleet import Fleet, Measured, fleet
from bench.grid import measure, tokens_per_second
from bench.models import model_file
from bench.processes import proportional_mib, tree
from bench.servers import Setup

NAME = "ixmodal-ctransformers"
LOAD = {"streams": 2, "conversations": 2, "chat": False, "prompt_words": 4, "max_tokens": 8}


@pytest.fixture(scope="module")
def servers() -> Iterator[Fleet]:
    with fleet([NAME], Setup(model_file("demo"), slots=2, context=128)) as found:
        yield found


def pid(servers: Fleet) -> int:
    server = servers.server(NAME)
    assert server
    return server.pid


def test_a_run_tells_tokens_and_who_used_the_processor(servers: Fleet) -> None:
    measured = servers.drive(NAME, **LOAD)
    assert measured
    assert (measured.summary.tokens, measured.summary.counted_by) == (16, "usage")
    assert set(measured.shares) == {"server", "engine", "others"}
    assert measured.shares["others"] == 0.0


def test_memory_is_that_of_all_processes(servers: Fleet) -> None:
    assert len(tree(pid(servers))) == 2
    found = proportional_mib(pid(servers))
    assert found["total"] > 30
    assert found["total"] == pytest.approx(found["anonymous"] + found["file"], rel=0.1)


def test_repetitions_are_interleaved_and_use_new_words(servers: Fleet) -> None:
    steps = {"one": {**LOAD, "streams": 1}, "two": LOAD}
    grid = measure(servers, steps, repetitions=2, budget=60)
    assert grid.repetitions == 2
    for step in steps:
        assert [value and value > 0 for value in grid.values(NAME, step, tokens_per_second)] == [True, True]
    ratio = grid.ratio((NAME, "two"), (NAME, "two"), tokens_per_second)
    assert ratio
    assert (ratio.median, ratio.least, ratio.most) == (1.0, 1.0, 1.0)


def test_a_slow_server_takes_part_in_every_other_repetition() -> None:
    class Still(Fleet):
        def drive(self, name: str, timeout: float = 60.0, **fields: object) -> Measured | None:
            driven.append((name, fields["seed"]))
            return None

    setup = Setup(model_file("demo"), slots=1, context=128)
    driven: list[tuple[str, object]] = []
    grid = measure(Still(["quick", "slow"], setup), {"one": {}}, repetitions=3, budget=60, seldom=["slow"])
    assert driven == [("quick", 1), ("slow", 1), ("quick", 2), ("quick", 3), ("slow", 3)]
    assert [len(cells) for cells in grid.cells.values()] == [3, 3]
    driven.clear()
    measure(Still(["slow"], setup), {"one": {}}, repetitions=2, budget=60, seldom=["slow"])
    assert driven == [("slow", 1), ("slow", 2)]


def test_no_repetition_begins_that_would_not_end_in_time(servers: Fleet) -> None:
    assert measure(servers, {"one": LOAD}, repetitions=50, budget=0.001).repetitions == 1


def test_a_server_that_hangs_is_replaced(servers: Fleet) -> None:
    old = pid(servers)
    for process in tree(old):
        process.send_signal(signal.SIGSTOP)
    measured = servers.drive(NAME, timeout=0.5, **LOAD)
    assert measured
    assert measured.summary.outcomes == {"timed out": 2}
    assert pid(servers) != old
    assert not psutil.pid_exists(old)
    after = servers.drive(NAME, **LOAD)
    assert after
    assert after.summary.complete == 2
    assert "timed out" in servers.problems[-1]


def test_a_server_that_died_is_replaced_too(servers: Fleet) -> None:
    old = pid(servers)
    os.kill(old, signal.SIGKILL)
    measured = servers.drive(NAME, timeout=5, **LOAD)
    assert not measured or measured.summary.complete == 0
    after = servers.drive(NAME, **LOAD)
    assert after
    assert after.summary.complete == 2


def test_a_server_that_cannot_start_is_left_out_with_its_reason() -> None:
    with fleet([NAME], Setup(model_file("demo").with_name("CARD.md"), slots=1, context=128)) as found:
        assert found.drive(NAME, **LOAD) is None
    assert "ended with 1" in found.problems[0]


def test_a_server_that_fails_again_and_again_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.fleet._REPLACEMENTS", 0)
    with fleet([NAME], Setup(model_file("demo"), slots=2, context=128)) as found:
        os.kill(pid(found), signal.SIGKILL)
        found.drive(NAME, timeout=5, **LOAD)
        assert found.server(NAME) is None
        assert found.drive(NAME, **LOAD) is None
    assert found.problems[-1] == f"{NAME}: left out from here on"
