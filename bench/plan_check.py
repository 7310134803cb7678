"""The planner's forecast against a real run of the same requests: `python -m bench.plan_check`.

Measures the server's speeds, draws Poisson traffic, simulates it, then sends the very same requests at the very same
times to the very same server, and compares latencies.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from bench.machine import describe_machine
from bench.models import MODELS, RESULTS
from ixmodal.planning.measure import SpeedMeter
from ixmodal.planning.report import Latency, report
from ixmodal.planning.simulation import Deployment, simulate
from ixmodal.planning.traffic import Arrival, Lengths, draw_arrivals
from ixmodal.spec.sources import parse_spec
from tests.support.server import DEMO, serve
from tools.random_model import SHAPES, write_random_llama


def play(client: httpx.Client, arrivals: list[Arrival]) -> list[tuple[float, float]]:
    """Send each request at its time; seconds to its first token and to its end."""
    start = time.perf_counter() + 0.5
    dice = random.Random(5)
    prompts = [[dice.randrange(300, 30_000) for _ in range(arrival.prompt_tokens)] for arrival in arrivals]

    def ask(arrival: Arrival, prompt: list[int]) -> tuple[float, float]:
        time.sleep(max(0.0, start + arrival.at - time.perf_counter()))
        body = {
            "model": "bench",
            "prompt": prompt,
            "max_tokens": arrival.completion_tokens,
            "ignore_eos": True,
            "stream": True,
        }
        began, first = time.perf_counter(), 0.0
        with client.stream("POST", "/v1/completions", json=body) as response:
            response.raise_for_status()
            for line in response.iter_lines():
                if line.startswith("data: {") and not first:
                    first = time.perf_counter() - began
        return first, time.perf_counter() - began

    with ThreadPoolExecutor(len(arrivals)) as pool:
        return list(pool.map(ask, arrivals, prompts))


def main() -> None:
    """Measure, forecast, play, compare."""
    parser = argparse.ArgumentParser(description="the planner's forecast against a real run")
    parser.add_argument("--utilization", type=float, default=0.6, help="share of the engine's time that is asked for")
    parser.add_argument("--duration", type=float, default=120)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--record", action="store_true", help="write bench/results/plan_check.json")
    arguments = parser.parse_args()
    MODELS.mkdir(exist_ok=True)
    path = (MODELS / "random-110m-q4_0.gguf").absolute()
    if not path.exists():
        write_random_llama(path, **asdict(SHAPES["110m"]))
    model = {"id": "bench", "source": f"file://{path}", "slots": arguments.slots, "threads": 1}
    spec = parse_spec({"models": [model]})
    lengths = Lengths(64, 0.5)
    with serve(DEMO, {"IXMODAL_SPEC": json.dumps({"models": [model]})}) as server:
        with closing(SpeedMeter(f"{server.url}/v1", "bench")) as meter:
            speeds = meter.measure(arguments.slots)
        print(speeds.model_dump_json(indent=2), flush=True)
        service = lengths.mean / speeds.prefill_tokens_per_second + lengths.mean * speeds.decode_step(1)
        arrivals = draw_arrivals(arguments.utilization / service, arguments.duration, lengths, lengths, seed=7)
        forecast = report(simulate(arrivals, Deployment.on_one_machine(spec), speeds))
        with httpx.Client(base_url=server.url, timeout=600, limits=httpx.Limits(max_connections=None)) as client:
            measured = play(client, arrivals)
    comparison = {
        "first_token": compare(forecast.first_token, [first for first, _ in measured]),
        "whole_answer": compare(forecast.whole_answer, [whole for _, whole in measured]),
    }
    result = {
        "command": "python -m bench.plan_check " + " ".join(sys.argv[1:]),
        "machine": describe_machine(),
        "model": "110 M parameters, Q4_0, random weights, one thread",
        "requests": len(arrivals),
        "utilization": round(forecast.utilization, 2),
        "speeds": speeds.model_dump(),
        "seconds": comparison,
    }
    print(json.dumps(result, indent=2))
    if arguments.record:
        Path(RESULTS, "plan_check.json").write_text(json.dumps(result, indent=2) + "\n")


def compare(forecast: Latency | None, measured: list[float]) -> dict[str, Any]:
    """Forecast, measured, and forecast / measured, of mean, p50 and p95."""
    assert forecast
    real = Latency.of(measured)
    rows = {name: (getattr(forecast, name), getattr(real, name)) for name in ("mean", "p50", "p95")}
    return {
        name: {"forecast": round(said, 3), "measured": round(was, 3), "ratio": round(said / was, 3)}
        for name, (said, was) in rows.items()
    }


if __name__ == "__main__":
    main()
