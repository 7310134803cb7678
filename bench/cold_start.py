"""From `exec` to the first token of the model that ships: `python -m bench.cold_start`.

Starts `uvicorn ixmodal.asgi:app` again and again, asks as soon as the port answers, and splits the time: the
port opens, the first token is there, the answer is whole. Beside it the time that Python takes for the imports.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import time

import httpx

from bench.machine import describe_machine
from tests.support.server import DEMO, launch

BODY = {
    "model": "demo",
    "stream": True,
    "temperature": 0,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}


def cold_start() -> dict[str, float]:
    """Seconds since `exec` of each stage."""
    began = time.perf_counter()
    stages: dict[str, float] = {}
    with launch(DEMO) as server:
        host, port = server.url.removeprefix("http://").split(":")
        while True:
            try:
                socket.create_connection((host, int(port))).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.002)
        stages["port"] = time.perf_counter() - began
        said = ""
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=BODY, timeout=30) as response:
            response.raise_for_status()
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    said += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
                    if said and "first token" not in stages:
                        stages["first token"] = time.perf_counter() - began
        stages["whole answer"] = time.perf_counter() - began
        assert "Paris" in said, said
    return stages


def imports() -> float:
    """Seconds of a bare `python -c "import ixmodal.server.app, uvicorn"`."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import ixmodal.server.app, uvicorn"], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="from exec to first token")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    rows = [{"imports": imports(), **cold_start()} for _ in range(arguments.runs)]
    medians = {stage: round(statistics.median(row[stage] for row in rows), 3) for stage in rows[0]}
    print(json.dumps({"machine": describe_machine(), "runs": arguments.runs, "median_seconds": medians}, indent=2))


if __name__ == "__main__":
    main()
