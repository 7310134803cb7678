"""The planner's forecast against a real run of the same requests: `python -m bench.plan_check --engine llama_cpp`.

Legs of Poisson traffic at several utilizations take turns, and before and after each leg the server's speeds are
measured as `ixmodal plan --measure` does. A leg is forecast from the observations on both its sides, so that a machine
whose speed changes meanwhile is not taken for an error of the forecast; how far it changed is in the record. Both
forecast and run play the same requests at the same times; every prompt is new, so none is in a cache.

Near its limit a queue makes much of little: at a utilization of 0.8 the mean wait grows by a quarter where all work
takes 5% longer. So each leg is forecast a second time with all speeds scaled by one number, the engine's processor
seconds in the run by those forecast: what then differs is an error of the simulation, and not of the speeds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from bench.machine import describe_machine
from bench.models import NAMES, RESULTS, model_file
from ixmodal.planning.engine import Job
from ixmodal.planning.measure import SpeedMeter
from ixmodal.planning.observations import Observations
from ixmodal.planning.report import Latency
from ixmodal.planning.simulation import Deployment, Outcome, simulate
from ixmodal.planning.speeds import Speeds
from ixmodal.planning.traffic import Arrival, Lengths, draw_arrivals
from ixmodal.spec.sources import parse_spec
from tests.support.server import DEMO, Server, serve

PROMPT, ANSWER = Lengths(30, 0.8), Lengths(16, 0.5)
_AFTER = 20
"""Seconds that a leg takes after its last request, the observations included."""


@dataclass
class Run:
    """What became of one or more legs, forecast or measured: seconds of each request, and of the engine's work."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    tokens: int = 0
    busy: float = 0.0
    seconds: float = 0.0
    others: float = 0.0
    """Processor seconds that other programs had meanwhile; in a forecast, none."""

    def __add__(self, other: Run) -> Run:
        return Run(
            self.first + other.first,
            self.whole + other.whole,
            self.tokens + other.tokens,
            self.busy + other.busy,
            self.seconds + other.seconds,
            self.others + other.others,
        )


async def ask(url: str, at: float, arrival: Arrival, prompt: list[int]) -> tuple[float, float]:
    """Send one request at its time; seconds to its first token and to its end.

    A client as light as can be: on two cores, what it spends is taken from the engine.
    """
    await asyncio.sleep(at - time.perf_counter())
    host, port = url.removeprefix("http://").split(":")
    fields = {"model": "bench", "prompt": prompt, "max_tokens": arrival.completion_tokens}
    body = json.dumps({**fields, "ignore_eos": True, "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    began, first = time.perf_counter(), 0.0
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    tail = b""
    while data := await reader.read(65_536):
        if not first and b"data: {" in data:
            first = time.perf_counter() - began
        tail = tail[-32:] + data
    ended = time.perf_counter() - began
    writer.close()
    assert b"data: [DONE]" in tail, tail
    return first, ended


def play(server: Server, arrivals: list[Arrival]) -> Run:
    """Send all requests at their times."""
    dice = random.Random()
    prompts = [dice.choices(range(300, 30_000), k=arrival.prompt_tokens) for arrival in arrivals]
    start = time.perf_counter() + 0.2
    engine_before, others_before = work(server)

    async def play_all() -> list[tuple[float, float]]:
        pairs = zip(arrivals, prompts, strict=True)
        return await asyncio.gather(*(ask(server.url, start + a.at, a, prompt) for a, prompt in pairs))

    seen = asyncio.run(play_all())
    seconds = time.perf_counter() - start
    engine_after, others_after = work(server)
    return Run(
        [first for first, _ in seen],
        [whole for _, whole in seen],
        sum(arrival.completion_tokens for arrival in arrivals),
        engine_after - engine_before,
        seconds,
        others_after - others_before,
    )


def work(server: Server) -> tuple[float, float]:
    """Processor seconds so far of the engine, and of all that has no part in this."""
    (engine,) = server.engines()
    spent = [sum(process.cpu_times()[:2]) for process in (engine, psutil.Process(server.process.pid), psutil.Process())]
    machine = psutil.cpu_times()
    return spent[0], sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice - sum(spent)


def forecast(arrivals: list[Arrival], deployment: Deployment, speeds: Speeds) -> Run:
    """The same by simulation."""
    outcome: Outcome = simulate(arrivals, deployment, speeds)

    def since(job: Job, moment: float | None) -> float:
        assert moment is not None
        return moment - job.arrival.at

    return Run(
        [since(job, job.first_token) for job in outcome.jobs],
        [since(job, job.finished) for job in outcome.jobs],
        sum(arrival.completion_tokens for arrival in arrivals),
        outcome.busy_seconds,
        outcome.end,
    )


def draw(rate: float, requests: int, seed: int) -> list[Arrival]:
    """So many requests, `rate` a second."""
    drawn = draw_arrivals(1, 3.0 * requests + 30, PROMPT, ANSWER, seed=seed)[:requests]
    return [Arrival(arrival.at / rate, arrival.prompt_tokens, arrival.completion_tokens) for arrival in drawn]


def rate_for(utilization: float, deployment: Deployment, speeds: Speeds) -> float:
    """Requests a second that keep the simulated engine busy for that share of the time."""
    patient = replace(deployment, max_concurrency=1000, queue_timeout=math.inf)
    low, high = 0.05, 50.0
    for _ in range(12):
        rate = (low * high) ** 0.5
        run = forecast(draw(rate, 300, seed=99), patient, speeds)
        low, high = (rate, high) if run.busy / run.seconds < utilization else (low, rate)
    return low


def scaled(speeds: Speeds, factor: float) -> Speeds:
    """Of an engine that takes `factor` times as long for everything."""
    rate, mixed = speeds.prefill_tokens_per_second, speeds.mixed_prefill_tokens_per_second
    changed = {
        "prefill_tokens_per_second": rate / factor,
        "prefill_forward_seconds": speeds.prefill_forward_seconds * factor,
        "decode_step_seconds": tuple(step * factor for step in speeds.decode_step_seconds),
        "context_token_seconds": speeds.context_token_seconds * factor,
        "mixed_prefill_tokens_per_second": mixed / factor if mixed else None,
    }
    return speeds.model_copy(update=changed)


def compare(said: Run, was: Run) -> dict[str, Any]:
    """Forecast, measured, and forecast / measured."""
    figures: dict[str, tuple[float, float]] = {
        "tokens_per_second": (said.tokens / said.seconds, was.tokens / was.seconds),
        "utilization": (said.busy / said.seconds, was.busy / was.seconds),
    }
    for name in ("first", "whole"):
        mine, real = Latency.of(getattr(said, name)), Latency.of(getattr(was, name))
        for figure in ("mean", "p50", "p95"):
            figures[f"{name}_{figure}"] = (getattr(mine, figure), getattr(real, figure))
    return {
        name: {"forecast": round(a, 3), "measured": round(b, 3), "ratio": round(a / b, 3)}
        for name, (a, b) in figures.items()
    }


class Check:
    """Measure, play a leg, measure, play the next, …"""

    def __init__(self, server: Server, deployment: Deployment, rounds: int) -> None:
        self._server, self._deployment, self._rounds = server, deployment, rounds
        self._meter = SpeedMeter(f"{server.url}/v1", "bench")
        self._meter.warm_up()
        self._seen = [self._observe()]
        self._said, self._was, self._at_speed = (defaultdict[float, Run](Run) for _ in range(3))

    def run(self, options: argparse.Namespace) -> dict[str, Any]:
        """All legs for which there is time. Returns the record."""
        end = time.perf_counter() + options.seconds
        rates = {u: rate_for(u, self._deployment, self._seen[0].fit()) for u in options.utilizations}
        for leg, utilization in enumerate(options.utilizations * options.legs):
            arrivals = draw(rates[utilization], options.requests // options.legs, seed=leg)
            if time.perf_counter() + arrivals[-1].at + _AFTER > end:
                print(f"leg {leg}, {utilization}: left out, for want of time", flush=True)
            else:
                self._play(leg, utilization, arrivals)
        self._meter.close()
        steps = [seen.fit().decode_step_seconds[0] for seen in self._seen]
        return {
            "engine": options.engine,
            "speeds": sum(self._seen[1:], self._seen[0]).fit().model_dump(),
            "decode_step_seconds_over_the_run": [round(step, 4) for step in steps],
            "utilizations": {str(u): self._compare(u) for u in self._was},
        }

    def _observe(self) -> Observations:
        size = self._deployment.batch_size
        return self._meter.observe(self._deployment.slots, batch_size=size, rounds=self._rounds, seconds=30)

    def _play(self, leg: int, utilization: float, arrivals: list[Arrival]) -> None:
        was = play(self._server, arrivals)
        self._seen.append(self._observe())
        speeds = (self._seen[-2] + self._seen[-1]).fit()
        said = forecast(arrivals, self._deployment, speeds)
        self._was[utilization] += was
        self._said[utilization] += said
        self._at_speed[utilization] += forecast(arrivals, self._deployment, scaled(speeds, was.busy / said.busy))
        ratio, others = statistics.fmean(said.whole) / statistics.fmean(was.whole), was.others / was.seconds
        work = was.busy / said.busy
        print(f"leg {leg}, {utilization}: forecast / run {ratio:.3f}, work {work:.3f}, others {others:.0%}", flush=True)
        print(speeds.model_dump_json(), flush=True)

    def _compare(self, utilization: float) -> dict[str, Any]:
        said, was = self._said[utilization], self._was[utilization]
        return {
            "requests": len(was.first),
            "processor_time_of_other_programs": round(was.others / was.seconds, 3),
            "work_measured_by_work_forecast": round(was.busy / said.busy, 3),
            "forecast": compare(said, was),
            "forecast_at_the_speed_of_the_run": compare(self._at_speed[utilization], was),
        }


def main() -> None:
    """Serve, check, print, record beside the other engine's."""
    parser = argparse.ArgumentParser(description="the planner's forecast against a real run")
    parser.add_argument("--engine", choices=("ctransformers", "llama_cpp"), default="ctransformers")
    parser.add_argument("--utilizations", type=float, nargs="+", default=[0.3, 0.6, 0.8], help="shares of engine time")
    parser.add_argument("--requests", type=int, default=70, help="at each utilization")
    parser.add_argument("--legs", type=int, default=2, help="parts in which each utilization is played")
    parser.add_argument("--rounds", type=int, default=2, help="of observations between two legs")
    parser.add_argument("--seconds", type=float, default=350, help="legs that would end later are left out")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--record", action="store_true", help="write bench/results/plan_check.json")
    options = parser.parse_args()
    path = model_file("110m")
    model = {"id": "bench", "source": f"file://{path}", "slots": options.slots, "threads": 1, "engine": options.engine}
    spec = parse_spec({"models": [{**model, "context_length": 1024}]})
    machine = describe_machine()
    with serve(DEMO, {"IXMODAL_SPEC": spec.model_dump_json()}) as server:
        result = Check(server, Deployment.on_one_machine(spec), options.rounds).run(options)
    print(json.dumps(result, indent=2))
    if options.record:
        file = RESULTS / "plan_check.json"
        record = json.loads(file.read_text()) if file.exists() else {}
        command = "python -m bench.plan_check " + " ".join(sys.argv[1:])
        record[options.engine] = {"command": command, "machine": machine, "model": NAMES["110m"], **result}
        file.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
