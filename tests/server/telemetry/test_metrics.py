from __future__ import annotations

import math

from ixmodal.runtime import Runtime
from ixmodal.server.telemetry.account import Account
from ixmodal.server.telemetry.histogram import Histogram
from ixmodal.server.telemetry.metrics import Metrics
from ixmodal.spec import App


def test_codes_of_upstreams_become_a_bounded_number_of_series() -> None:
    metrics = Metrics(Runtime(App()))
    for index in range(1000):
        account = Account("req_1", "POST", "/v1/chat/completions")
        account.error = f"code_{index}"
        metrics.count(account)
    assert len(metrics.requests) == 101
    assert metrics.requests["", "", "other"] == 900


def test_buckets_are_cumulative_and_hold_their_upper_bound() -> None:
    histogram = Histogram((1.0, 2.0))
    for seconds in (0.5, 1.0, 1.5, 9.0):
        histogram.observe("a", seconds)
    assert [(float(bound), count) for bound, count in histogram.buckets("a")] == [(1.0, 2), (2.0, 3), (math.inf, 4)]
    histogram.add("a", [1, 0, 1], 10.0)
    assert [count for _, count in histogram.buckets("a")] == [3, 4, 6]
    assert histogram.sum("a") == 22.0
    assert [count for _, count in histogram.buckets("b")] == [0, 0, 0]
