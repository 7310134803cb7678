"""What GPU offload brings on this machine: `python -m bench.offload [FILE] --record`.

Serves a model with `uvicorn ixmodal.asgi:app`, on the CPU and, where an NVIDIA driver shows a card, with all layers on
it; times the start, then reading and decoding through HTTP with 1 to `--slots` sequences, and memory. Without a file it
makes a random model of 1.1 B parameters, shaped like TinyLlama. On a GPU machine:

    pip install -c constraints.txt '.[cuda,dev]' && python -m bench.offload --record

Cards newer than compute capability 7.0 compile the wheel's kernels at the first load: each way is started twice, and
the second start counts. Where its libraries don't load at all, compile them (docs/deploying.md, builds from source).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from bench.machine import describe_machine
from bench.models import MODELS, RESULTS
from ixmodal.planning.measure import SpeedMeter
from ixmodal.runtime.memory import MIB, Gpu, gpus
from tests.support.server import DEMO, launch
from tools.random_model import SHAPES, write_random_llama

_KEY = "sk-bench-0123456789abcdef"


def measure(path: Path, layers: int | str, slots: int, cards: list[Gpu]) -> dict[str, Any]:
    """One way of serving: seconds of the start, tokens a second, MiB."""
    model = {"id": "bench", "source": f"file://{path}", "slots": slots, "gpu_layers": layers}
    keys = [{"name": "bench", "key": _KEY, "admin": True}]
    spec = {"models": [model], "endpoint": {"keys": keys}, "limits": {"load_timeout": 3600}}
    headers = {"authorization": f"Bearer {_KEY}"}
    began = time.perf_counter()
    with launch(DEMO, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        while not _is_ready(server.url):
            assert server.process.poll() is None, server.log
            time.sleep(0.02)
        ready = time.perf_counter() - began
        with closing(SpeedMeter(f"{server.url}/v1", "bench", _KEY)) as meter:
            first = meter.complete(8, 2).first
            speeds = meter.measure(slots)
        shown = httpx.get(f"{server.url}/models", headers=headers).json()["data"][0]["run_time"]
        used = sum(card.free for card in cards) - sum(card.free for card in gpus())
    return {
        "gpu_layers": layers,
        "ready_seconds": round(ready, 2),
        "first_token_seconds": round(ready + first, 2),
        "prefill_tokens_per_second": round(speeds.prefill_tokens_per_second, 1),
        "decode_tokens_per_second": [round(n / step, 1) for n, step in enumerate(speeds.decode_step_seconds, 1)],
        "engine_resident_mib": shown["memory"]["resident_mib"],
        "gpu_used_mib": used // MIB if cards else None,
    }


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def main() -> None:
    """Measure each way twice (the first start may compile kernels), print and record the second."""
    parser = argparse.ArgumentParser(description="what GPU offload brings here")
    parser.add_argument("file", nargs="?", type=Path, help="a .gguf; unset: a random model of 1.1 B parameters")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--record", action="store_true", help="write bench/results/offload.json")
    arguments = parser.parse_args()
    path = arguments.file or MODELS / "random-1b-q4_0.gguf"
    if not path.exists():
        MODELS.mkdir(exist_ok=True)
        write_random_llama(path, **asdict(SHAPES["1b"]))
    cards = gpus()
    ways: list[int | str] = [0, "all"] if cards else [0]
    rows = []
    for layers in ways:
        measure(path.absolute(), layers, 1, cards)
        rows.append(measure(path.absolute(), layers, arguments.slots, cards))
        print(json.dumps(rows[-1]), flush=True)
    report = {
        "command": "python -m bench.offload " + " ".join(sys.argv[1:]),
        "machine": describe_machine(),
        "gpus": [card.name for card in cards],
        "model": arguments.file.name if arguments.file else "1.1 B parameters, Q4_0, random weights",
        "results": rows,
    }
    print(json.dumps(report, indent=2))
    if arguments.record:
        RESULTS.joinpath("offload.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
