"""What a token costs in the engine's process: `python -m bench.engine_step`.

The engine's scheduler runs in this process, over the real socket to a client in another process that asks for so many
streams at once and reads their frames to the end. Told are microseconds of processor time a token, of this process:
within native forwards, and outside of them (sampling, text, frames, system calls). The client reads all frames; its own
time does not count here. `--profile` prints cProfile's account of each run as well, which slows what it measures.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import socket
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.machine import describe_machine
from ixmodal.backends import load_backend
from ixmodal.backends.base import Backend, Chunk, LoadParams
from ixmodal.engine.channel import Channel
from ixmodal.engine.messages import Delta, Finished, FrameBuffer, Generate, Load, frame, from_worker
from ixmodal.engine.request import GenerationRequest, SamplingParams, TextPrompt
from ixmodal.engine.scheduler import Scheduler

ROOT = Path(__file__).parents[1]
FILES = {"demo": ROOT / "ixmodal/models/demo/demo.gguf", "110m": ROOT / "bench/models/random-110m-q4_0.gguf"}
RESULTS = Path(__file__).parent / "results"
SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "temperature 1": {},
    "top_p 0.95": {"temperature": 0.8, "top_p": 0.95},
    "top_k 40": {"temperature": 0.8, "top_k": 40},
    "min_p 0.05": {"temperature": 0.8, "min_p": 0.05},
    "repetition 1.1, greedy": {"temperature": 0.0, "repetition_penalty": 1.1},
    "logprobs 5, greedy": {"temperature": 0.0, "logprobs": 5},
    "stop strings, greedy": {"temperature": 0.0, "stop": ("\u2603 never", "nor that")},
}


class Timed:
    """A backend whose forwards are timed."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.spent = 0.0
        self.forwards = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def forward(self, chunks: Sequence[Chunk]) -> None:
        began = time.process_time()
        self._backend.forward(chunks)
        self.spent += time.process_time() - began
        self.forwards += 1


def clock_cost() -> float:
    """Seconds that a look at the process's own clock takes: microseconds, a system call."""
    began = time.process_time()
    for _ in range(1000):
        time.process_time()
    return (time.process_time() - began) / 1001


def ask(connection: socket.socket, streams: int, tokens: int, sampling: dict[str, Any]) -> None:
    """The client: asks for all streams at once, reads until all have ended, and hangs up."""
    buffer, ended, made = FrameBuffer(), 0, 0
    params = {"max_tokens": tokens, "ignore_eos": True, "seed": 1, **sampling}
    requests = [
        Generate(number, GenerationRequest(TextPrompt(f"Stream {number}"), SamplingParams(**params)))
        for number in range(1, streams + 1)
    ]
    connection.sendall(frame(requests))
    while ended < streams:
        for body in buffer.feed(connection.recv(1 << 18)):
            for message in from_worker.decode(body):
                if isinstance(message, Finished):
                    ended += 1
                    made += message.completion_tokens
                elif not isinstance(message, Delta):
                    made += 0
    assert made == streams * tokens, made
    connection.close()


def measure(backend: Timed, streams: int, tokens: int, name: str, batch_size: int, *, profiled: bool) -> list[float]:
    """Microseconds of processor time a token: in forwards, and outside."""
    ours, theirs = socket.socketpair()
    client = get_context("fork").Process(target=ask, args=(theirs, streams, tokens, SAMPLINGS[name]))
    client.start()
    theirs.close()
    load = Load(backend="", path="", slots=backend.slots, batch_size=batch_size, threads=1)
    scheduler = Scheduler(Channel(ours), backend, load)
    backend.spent, backend.forwards, cost = 0.0, 0, clock_cost()
    profile = cProfile.Profile()
    began = time.process_time()
    if profiled:
        profile.runcall(scheduler.run)
    else:
        scheduler.run()
    spent = time.process_time() - began
    client.join()
    ours.close()
    assert client.exitcode == 0
    if profiled:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    total = 1e6 / (streams * tokens)
    forward = backend.spent - backend.forwards * cost
    return [forward * total, (spent - backend.spent - backend.forwards * cost) * total]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", choices=FILES, default="demo")
    parser.add_argument("--engine", choices=("ctransformers", "llama_cpp"), default="ctransformers")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sampling", choices=SAMPLINGS, nargs="+", default=list(SAMPLINGS))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name}/engine_step.json")
    options = parser.parse_args()
    params = LoadParams(
        str(FILES[options.model]), 256, max(options.streams), options.batch_size, 1, 0, mmap=True, mlock=False
    )
    backend = Timed(load_backend(options.engine, params))
    rows = []
    for name in options.sampling:
        for streams in options.streams:
            runs = [
                measure(backend, streams, options.tokens, name, options.batch_size, profiled=options.profile)
                for _ in range(options.runs)
            ]
            forward, rest = (sorted(column)[len(column) // 2] for column in zip(*runs, strict=True))
            rows.append({"sampling": name, "streams": streams, "forward_us": round(forward), "rest_us": round(rest, 1)})
            print(f"{name:24s} {streams:4d} streams: forward {forward:8.0f} µs, the rest {rest:7.1f} µs", flush=True)
    if options.record:
        record = {
            "machine": describe_machine(),
            "engine": options.engine,
            "model": options.model,
            "vocabulary": len(backend.vocabulary),
            "rows": rows,
        }
        (RESULTS / f"engine_step_{options.engine}_{options.model}.json").write_text(json.dumps(record, indent=1) + "\n")
    backend.close()
    os._exit(0)


if __name__ == "__main__":
    main()
