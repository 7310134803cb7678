"""From `exec` to the first token: `python -m bench.cold_start --model demo|1b --cache warm|cold`.

Starts `uvicorn ixmodal.asgi:app` again and again and asks as soon as the port answers: the shipped model a question,
the model of 1.1 B parameters (random weights, 591 MiB) for one token after one token. Bytecode is compiled before, as
pip does when it installs. Beside the start, in the same turns, what it is held against:

- imports: a process that imports what the server imports.
- mapping: a process that imports nothing else maps the file and touches every page.
- disk: with a cold cache, reading the file past the page cache (O_DIRECT), in order, 1 MiB at a time.

With `--cache cold` the file is dropped from the page cache before each start; the modules stay there.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from bench.machine import describe_machine
from bench.models import model_file
from tests.support.server import DEMO, launch

QUESTION = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "demo": ("/v1/chat/completions", QUESTION),
    "1b": ("/v1/completions", {"prompt": [1], "max_tokens": 1}),
}
_BLOCK = 1024 * 1024
_TOUCH = """
import mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
    view[:: mmap.PAGESIZE]
"""


def start(model: str, env: dict[str, str]) -> dict[str, float]:
    """Seconds since `exec` of each stage."""
    path, body = BODIES[model]
    spec = {"models": [{"id": model, "source": f"file://{model_file(model)}", "slots": 4}]}
    began = time.perf_counter()
    stages: dict[str, float] = {}
    with launch(DEMO, {**env, "IXMODAL_SPEC": json.dumps(spec)}) as server:
        host, port = server.url.removeprefix("http://").split(":")
        while True:
            try:
                socket.create_connection((host, int(port))).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.002)
        stages["port"] = time.perf_counter() - began
        with httpx.stream(
            "POST", server.url + path, json={"model": model, "stream": True, "temperature": 0} | body, timeout=60
        ) as response:
            response.raise_for_status()
            next(line for line in response.iter_lines() if _is_text(line))
            stages["first token"] = time.perf_counter() - began
    return stages


def _is_text(line: str) -> bool:
    if not line.startswith("data: {"):
        return False
    choice = json.loads(line[6:])["choices"][0]
    return bool(choice.get("text") or choice.get("delta", {}).get("content") or choice["finish_reason"])


def timed(code: str, env: dict[str, str], *arguments: str) -> float:
    """Seconds of a bare `python -c CODE`."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=os.environ | env)
    return time.perf_counter() - began


def forget(path: Path) -> None:
    """Drop a file from the page cache."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_directly(path: Path) -> float:
    """Seconds to read a file past the page cache."""
    with mmap.mmap(-1, _BLOCK) as buffer:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
        began = time.perf_counter()
        for at in range(0, path.stat().st_size, _BLOCK):
            os.preadv(descriptor, [buffer], at)
        passed = time.perf_counter() - began
        os.close(descriptor)
    return passed


def measure(model: str, cache: str, env: dict[str, str]) -> dict[str, float]:
    """One turn of all that is compared."""
    path = model_file(model)
    row = {"imports": timed("import uvicorn, ixmodal.asgi", env), "mapping": timed(_TOUCH, env, str(path))}
    if cache == "cold":
        row["warm first token"] = start(model, env)["first token"]
        row["disk"] = read_directly(path)
        forget(path)
    row |= start(model, env)
    row["first token / (imports + mapping)"] = row["first token"] / (row["imports"] + row["mapping"])
    if cache == "cold":
        added = max(0.001, row["first token"] - row["warm first token"])
        row["the disk's time / what the cold cache added"] = row["disk"] / added
        row["the disk's time / first token"] = row["disk"] / row["first token"]
    return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="from exec to first token")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--model", choices=sorted(BODIES), default="demo")
    parser.add_argument("--cache", choices=("warm", "cold"), default="warm")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        env = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        start(arguments.model, env)
        rows = [measure(arguments.model, arguments.cache, env) for _ in range(arguments.runs)]
    medians = {stage: round(statistics.median(row[stage] for row in rows), 3) for stage in rows[0]}
    extremes = {stage: [round(f(row[stage] for row in rows), 3) for f in (min, max)] for stage in rows[0]}
    found = {"model": arguments.model, "cache": arguments.cache, "runs": arguments.runs}
    print(json.dumps(found | {"machine": describe_machine(), "median": medians, "least_to_most": extremes}, indent=2))


if __name__ == "__main__":
    main()
