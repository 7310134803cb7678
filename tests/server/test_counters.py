"""Counts of requests by caller."""

from __future__ import annotations

import time

import pytest

from ixmodal.server.counters import SharedCounters


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
async def test_a_clock_that_is_set_blocks_nobody_for_a_day(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    counters = SharedCounters(None, "test")
    asked = [await counters.ask(lambda found: found.add_request("a", 2)) for _ in range(3)]
    assert asked == [True, True, False]
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + jump)
    assert await counters.ask(lambda found: found.add_request("a", 2))
    assert (await counters.ask(lambda found: found.requests("a", 2))).reset <= 61
