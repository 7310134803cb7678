"""The simulation against queueing theory, in the cases that have a formula."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest

from ixmodal import App, Model
from ixmodal.planning.report import report
from ixmodal.planning.simulation import Deployment, Outcome, simulate
from ixmodal.planning.speeds import Speeds
from ixmodal.planning.traffic import Arrival

FIXED = Deployment(
    slots=1,
    batch_size=64,
    max_concurrency=1_000_000,
    target_concurrency=1,
    min_replicas=1,
    max_replicas=1,
    buffer_replicas=0,
    scaledown_window=10,
    queue_timeout=math.inf,
    cold_start=0,
    waits_outside=False,
)
# A token takes a millisecond and a prompt almost nothing: an answer of N tokens is N ms of service.
FAST = Speeds(prefill_tokens_per_second=1e9, decode_step_seconds=(0.001,))
COUNT = 20_000


def poisson(rate: float, mean_tokens: float, *, exponential: bool = True, seed: int = 1) -> list[Arrival]:
    random = Random(seed)
    at = 0.0
    arrivals = []
    for _ in range(COUNT):
        at += random.expovariate(rate)
        tokens = random.expovariate(1 / mean_tokens) if exponential else mean_tokens
        arrivals.append(Arrival(at, 1, 1 + max(1, round(tokens))))
    return arrivals


def mean_sojourn(outcome: Outcome) -> float:
    latency = report(outcome).whole_answer
    assert latency
    return latency.mean


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_slot_is_mm1(load: float) -> None:
    """M/M/1: E[T] = 1 / (mu - lambda)."""
    outcome = simulate(poisson(load, 1000), FIXED, FAST)
    assert mean_sojourn(outcome) == pytest.approx(1 / (1 - load), rel=0.06)
    assert outcome.busy_seconds / outcome.end == pytest.approx(load, rel=0.03)


def test_equal_answers_are_md1() -> None:
    """M/D/1, Pollaczek–Khinchine: E[W] = rho / (2 mu (1 - rho))."""
    load = 0.7
    outcome = simulate(poisson(load, 1000, exponential=False), FIXED, FAST)
    assert mean_sojourn(outcome) == pytest.approx(1 + load / (2 * (1 - load)), rel=0.05)


@pytest.mark.parametrize("exponential", [True, False])
def test_slots_that_share_the_engine_are_mg1_processor_sharing(exponential: bool) -> None:
    """M/G/1-PS: E[T] = E[S] / (1 - rho), whatever the distribution of the lengths."""
    load = 0.6
    slots = 200
    speeds = Speeds(prefill_tokens_per_second=1e9, decode_step_seconds=tuple(0.001 * n for n in range(1, slots + 1)))
    outcome = simulate(poisson(load, 1000, exponential=exponential), replace(FIXED, slots=slots), speeds)
    assert mean_sojourn(outcome) == pytest.approx(1 / (1 - load), rel=0.06)


def erlang_c(servers: int, offered: float) -> float:
    """The probability that all servers are busy in M/M/c."""
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(terms) + last)


@pytest.mark.parametrize("by", ["replicas", "slots"])
def test_several_servers_are_mmc(by: str) -> None:
    """M/M/c: E[T] = C(c, a) / (c mu - lambda) + 1 / mu."""
    servers, rate = 4, 3.0
    if by == "replicas":
        deployment = replace(FIXED, min_replicas=servers, max_replicas=servers, max_concurrency=1, waits_outside=True)
    else:  # one engine whose step takes as long for four as for one
        deployment = replace(FIXED, slots=servers)
    speeds = FAST if by == "replicas" else Speeds(prefill_tokens_per_second=1e9, decode_step_seconds=(0.001,) * servers)
    outcome = simulate(poisson(rate, 1000), deployment, speeds)
    expected = erlang_c(servers, rate) / (servers - rate) + 1
    assert mean_sojourn(outcome) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("room", [1, 4])
def test_a_bounded_queue_refuses_as_mm1k(room: int) -> None:
    """M/M/1/K: P(refused) = rho^K (1 - rho) / (1 - rho^(K + 1))."""
    load = 0.8
    outcome = simulate(poisson(load, 1000), replace(FIXED, max_concurrency=room), FAST)
    expected = load**room * (1 - load) / (1 - load ** (room + 1))
    assert report(outcome).refused / COUNT == pytest.approx(expected, rel=0.06)


def test_reading_a_prompt_slows_those_who_decode() -> None:
    speeds = Speeds(prefill_tokens_per_second=100, decode_step_seconds=(0.01, 0.02))
    deployment = replace(FIXED, slots=2, batch_size=50)
    talker, reader = Arrival(0, 1, 101), Arrival(0.01, 200, 1)
    outcome = simulate([talker, reader], deployment, speeds)
    first, second = outcome.jobs
    # Four chunks of half a second, with a token of the first request between them; then it has the engine alone.
    assert second.first_token == pytest.approx(0.01 + 4 * 0.51, abs=0.02)
    assert first.finished == pytest.approx(0.01 + 1.0 + 4 * 0.5, abs=0.02)


def test_who_waits_too_long_is_refused_at_the_deadline() -> None:
    jobs = simulate([Arrival(0, 1, 5001), Arrival(0, 1, 11)], replace(FIXED, queue_timeout=2), FAST).jobs
    assert not jobs[0].refused
    assert jobs[1].refused
    assert jobs[1].finished == 2


SCALING = replace(
    FIXED, min_replicas=0, max_replicas=3, max_concurrency=1, waits_outside=True, cold_start=5, scaledown_window=20
)


def test_from_zero_the_first_request_waits_for_the_cold_start() -> None:
    outcome = simulate([Arrival(0, 1, 1001)], SCALING, FAST)
    assert outcome.jobs[0].first_token == pytest.approx(5)
    assert outcome.jobs[0].finished == pytest.approx(6)
    # Paid: cold start, the answer, and the idle window.
    assert outcome.replica_seconds == pytest.approx(5 + 1 + 20)
    assert outcome.replicas_over_time() == [(0, 1), (pytest.approx(26), 0)]
    assert report(outcome, price_per_hour=3600).cost == pytest.approx(26)


def test_a_burst_scales_to_the_maximum_and_back_to_zero() -> None:
    outcome = simulate([Arrival(0, 1, 10_001) for _ in range(6)], SCALING, FAST)
    summary = report(outcome)
    assert summary.most_replicas == 3
    assert summary.completed == 6
    assert outcome.replicas_over_time()[-1][1] == 0
    assert summary.whole_answer
    assert summary.whole_answer.p99 == pytest.approx(5 + 20)


def test_a_warm_replica_answers_at_once_and_stays() -> None:
    outcome = simulate([Arrival(1, 1, 11), Arrival(100, 1, 11)], replace(SCALING, min_replicas=1), FAST)
    assert [job.started for job in outcome.jobs] == [1, 100]
    assert len(outcome.replicas) == 1
    assert outcome.replicas[0].stopped is None


def test_slots_are_those_of_the_models_here() -> None:
    cloud = Model("cloud", upstream="https://host/v1")
    spec = App(models=(cloud, Model("demo", slots=3, batch_size=7)))
    for deployment in (Deployment.on_one_machine(spec), Deployment.on_platform(spec, cold_start=1)):
        assert (deployment.slots, deployment.batch_size) == (3, 7)
