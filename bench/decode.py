"""Decode speed through HTTP against the bare library's own loop: `python -m bench.decode`.

Both read the same random-weight file of 110 M parameters with the same number of threads, in turn, within one run, so
that the machine's mood falls on both. The bare loop is `sample` and `eval` of `ctransformers.LLM`, nothing else; the
server is `uvicorn ixmodal.asgi:app` in processes of its own, its client reads the stream and counts the usage.
"""

from __future__ import annotations

import argparse
import http.client
import json
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.machine import describe_machine
from tests.support.server import DEMO, Server, serve
from tools.random_model import SHAPES, write_random_llama

MODELS = Path(__file__).parent / "models"
RESULTS = Path(__file__).parent / "results"
PROMPT = "the of and to in is you that it he was for on are with as his they"


def bare(path: Path, threads: int, tokens: int) -> float:
    """Tokens a second of the library's own loop, in a process of its own."""
    command = [sys.executable, "-m", "bench.bare_loop", str(path), str(threads), str(tokens), PROMPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def through_http(server: Server, tokens: int) -> float:
    """Tokens a second between the first and the last event with text of one stream."""
    body = {
        "model": "bench",
        "prompt": PROMPT,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    # A client as light as can be: on two cores, what it spends is taken from the engine.
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=600)
    connection.request("POST", "/v1/completions", json.dumps(body))
    response = connection.getresponse()
    times: list[float] = []
    last = b""
    while line := response.readline():
        if line.startswith(b"data: {"):
            times.append(time.perf_counter())
            last = line
    connection.close()
    usage = json.loads(last[6:])["usage"]
    assert usage["completion_tokens"] == tokens, usage
    # The first event follows the first token, the last but one (before usage) the last token.
    return (tokens - 1) / (times[-2] - times[0])


def measure(path: Path, threads: int, tokens: int, runs: int) -> dict[str, Any]:
    """Both, in turn, `runs` times."""
    spec = {"models": [{"id": "bench", "source": f"file://{path}", "slots": 1, "threads": threads}]}
    rows: list[tuple[float, float]] = []
    with serve(DEMO, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        through_http(server, 16)
        for _ in range(runs):
            rows.append((bare(path, threads, tokens), through_http(server, tokens)))
            print(
                f"  bare {rows[-1][0]:7.1f}   http {rows[-1][1]:7.1f}   ratio {rows[-1][1] / rows[-1][0]:.3f}",
                flush=True,
            )
    ratios = sorted(http / alone for alone, http in rows)
    return {
        "threads": threads,
        "bare_tokens_per_second": round(statistics.median(alone for alone, _ in rows), 1),
        "http_tokens_per_second": round(statistics.median(http for _, http in rows), 1),
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_min": round(ratios[0], 3),
        "ratio_max": round(ratios[-1], 3),
    }


def main() -> None:
    """Make the model if need be, measure, print and record."""
    parser = argparse.ArgumentParser(description="decode through HTTP against the bare library")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--record", action="store_true", help="write bench/results/decode.json")
    arguments = parser.parse_args()
    MODELS.mkdir(exist_ok=True)
    path = (MODELS / "random-110m-q4_0.gguf").absolute()
    if not path.exists():
        write_random_llama(path, **asdict(SHAPES["110m"]))
    results = []
    for threads in arguments.threads:
        print(f"{threads} thread(s), {arguments.tokens} tokens", flush=True)
        results.append(measure(path, threads, arguments.tokens, arguments.runs))
    report = {
        "command": "python -m bench.decode " + " ".join(sys.argv[1:]),
        "machine": describe_machine(),
        "python": platform.python_version(),
        "model": "110 M parameters, Q4_0, vocabulary 32,000, random weights",
        "results": results,
    }
    print(json.dumps(report, indent=2))
    if arguments.record:
        RESULTS.joinpath("decode.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
