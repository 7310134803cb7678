"""Tokens a second of both engines through HTTP, at 1, 4 and 8 streams: `python -m bench.engines`.

Both serve the same random-weight file of 110 M parameters with the same threads, in turn within each repetition.
Needs the extra `llama-cpp`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.decode import MODELS, PROMPT
from tests.support.server import DEMO, Server, serve

ENGINES = ("ctransformers", "llama_cpp")


def stream(server: Server, engine: str, tokens: int) -> int:
    """Tokens of one answer, read to its end."""
    body = {"model": engine, "prompt": PROMPT, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=600)
    connection.request("POST", "/v1/completions", json.dumps(body))
    count = int(json.loads(connection.getresponse().read())["usage"]["completion_tokens"])
    connection.close()
    return count


def aggregate(server: Server, engine: str, streams: int, tokens: int) -> float:
    """Tokens a second of all streams together, prompts included."""
    began = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        total = sum(pool.map(lambda _: stream(server, engine, tokens), range(streams)))
    assert total == streams * tokens, total
    return total / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=MODELS / "random-110m-q4_0.gguf")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    common = {"source": f"file://{options.model.resolve()}", "slots": 8, "threads": options.threads}
    models = [{"id": engine, "engine": engine, "context_length": 512, **common} for engine in ENGINES]
    with serve(DEMO, {"IXMODAL_SPEC": json.dumps({"models": models})}) as server:
        for engine in ENGINES:
            stream(server, engine, 8)
        print(f"{options.threads} threads; load of the machine at the start: {os.getloadavg()[0]:.1f}")
        for streams in (1, 4, 8):
            runs = [
                [aggregate(server, engine, streams, options.tokens) for engine in ENGINES] for _ in range(options.runs)
            ]
            first, second = (statistics.median(run[at] for run in runs) for at in (0, 1))
            ratios = sorted(run[1] / run[0] for run in runs)
            print(
                f"{streams} streams: ctransformers {first:6.1f}/s, llama_cpp {second:6.1f}/s, "
                f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
