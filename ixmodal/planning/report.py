"""What a simulation or a measured run says, in figures: latencies, replicas, cost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ixmodal.planning.engine import Job
from ixmodal.planning.simulation import Outcome

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Latency:
    """Seconds: the mean, and the values that 50, 90, 95 and 99 of 100 requests stay below or meet."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Of measured or simulated values, at least one."""
        ordered = sorted(seconds)
        # The nearest-rank percentile: the smallest value that at least q percent don't exceed.
        ranks = [ordered[max(0, -(-q * len(ordered) // 100) - 1)] for q in PERCENTILES]
        return cls(statistics.fmean(ordered), *ranks)


@dataclass(frozen=True)
class Report:
    """The plan's answer. Shares are 0 to 1; cost is in the price's own currency; None: nothing to say."""

    requests: int
    completed: int
    refused: int
    waiting: Latency | None
    first_token: Latency | None
    whole_answer: Latency | None
    completion_tokens_per_second: float
    seconds: float
    most_replicas: int
    mean_replicas: float
    utilization: float
    cost: float | None
    cost_per_thousand_requests: float | None
    cost_per_million_tokens: float | None


def report(outcome: Outcome, price_per_hour: float | None = None) -> Report:
    """Sum up an outcome; `price_per_hour` is one replica's, paid from its start to its stop."""
    completed = [job for job in outcome.jobs if job.finished is not None and not job.refused]
    tokens = sum(job.arrival.completion_tokens for job in completed)
    paid = outcome.replica_seconds
    cost = None if price_per_hour is None else paid / 3600 * price_per_hour
    return Report(
        requests=len(outcome.jobs),
        completed=len(completed),
        refused=sum(job.refused for job in outcome.jobs),
        waiting=_latency([_since(job, job.started) for job in completed]),
        first_token=_latency([_since(job, job.first_token) for job in completed]),
        whole_answer=_latency([_since(job, job.finished) for job in completed]),
        completion_tokens_per_second=tokens / outcome.end if outcome.end else 0.0,
        seconds=outcome.end,
        most_replicas=max((count for _, count in outcome.replicas_over_time()), default=0),
        mean_replicas=paid / outcome.end if outcome.end else 0.0,
        utilization=outcome.busy_seconds / paid if paid else 0.0,
        cost=cost,
        cost_per_thousand_requests=cost / len(completed) * 1000 if cost is not None and completed else None,
        cost_per_million_tokens=cost / tokens * 1_000_000 if cost is not None and tokens else None,
    )


def _since(job: Job, moment: float | None) -> float:
    assert moment is not None
    return moment - job.arrival.at


def _latency(seconds: Sequence[float]) -> Latency | None:
    return Latency.of(seconds) if seconds else None
