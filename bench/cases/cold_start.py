"""From `exec` to ready and to the first token, of 1.1 B parameters: with a warm page cache, and from the disk."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

from bench import disk
from bench.fleet import generate
from bench.models import NAMES, model_file
from bench.options import Options
from bench.record import Record, Requirement, Table, number, ratio
from bench.servers import MODEL_ID, Server, Setup
from ixmodal.benchmark.load import Load
from ixmodal.benchmark.statistics import Spread

ENGINES = {"ixmodal-ctransformers": "ctransformers", "ixmodal-llama_cpp": "llama_cpp"}
CONTEXT = 512
_BUDGET, _TIMEOUT = 130.0, 60.0


def measure(options: Options) -> Record:
    """Each server in turn, warm and cold; the bare start and the bare reading of the file in the same turns."""
    setup = Setup(model_file("1b"), slots=1, context=CONTEXT, threads=options.threads)
    runs: list[dict[str, Any]] = []
    problems: list[str] = []
    began = time.perf_counter()
    for repetition in range(options.repetitions or 5):
        took = time.perf_counter() - began
        if repetition and took * (repetition + 1) / repetition > _BUDGET:
            break
        runs.append(_repetition(setup, options.servers, problems))
        print(f"  {repetition + 1} {runs[-1]}", flush=True)
    demo = _demo(options)
    about = (
        f"{NAMES['1b']}, {setup.model.stat().st_size / 2**20:.0f} MiB; {setup.threads} thread(s); seconds, medians of "
        f"{len(runs)} interleaved repetitions. Cold: the file is dropped from the page cache before."
    )
    tables = [_table(runs, options.servers), _floor(runs), demo]
    requirements = _requirements(runs, options.servers)
    return Record("cold_start", about, {}, tables, requirements, runs, sorted(set(problems)))


def _repetition(setup: Setup, servers: tuple[str, ...], problems: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    disk.read(setup.model)
    for name in servers:
        if name in ENGINES:
            found[f"{name} bare"] = _bare(ENGINES[name], setup)
        found[f"{name} warm"] = _start(name, setup, problems)
    for name in servers:
        disk.forget(setup.model)
        if (kept := disk.resident(setup.model)) > 0.05:
            problems.append(f"{name}, cold: {kept:.0%} of the file stayed in the page cache; somebody else maps it")
        found[f"{name} cold"] = _start(name, setup, problems)
    disk.forget(setup.model)
    found["disk"] = disk.read(setup.model)
    return found


def _start(name: str, setup: Setup, problems: list[str]) -> list[float] | None:
    """Seconds from the start of the process to ready, and to the first token of a prompt of one word."""
    server = Server(name, setup)
    try:
        ready = server.wait_ready(interval=0.005)
        load = Load(base_url=server.base_url, model=MODEL_ID, chat=False, conversations=1, prompt_words=1, max_tokens=2)
        (answer,) = generate(load, _TIMEOUT).answers
        if not answer.is_complete:
            raise RuntimeError(f"the first answer: {answer.outcome} {answer.detail}")
        # As if the client had waited at the door: what the generator's own process takes to start does not count.
        return [ready, ready + (answer.deltas[0] if answer.deltas else answer.ended)]
    except (RuntimeError, subprocess.SubprocessError) as error:
        problems.append(f"{name}: {error}")
        return None
    finally:
        server.stop()


def _bare(engine: str, setup: Setup) -> float:
    began = time.perf_counter()
    arguments = [engine, str(setup.model), str(setup.context)]
    with subprocess.Popen(
        [sys.executable, "-m", "bench.bare_start", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        passed = time.perf_counter() - began
    if line != b"mapped\n":
        raise RuntimeError(f"the bare start of {engine} ended with {process.returncode}")
    return passed


def _demo(options: Options) -> Table:
    """The same for the model that ships, warm."""
    setup = Setup(model_file("demo"), slots=4, context=256, threads=options.threads)
    rows = []
    for name in options.servers:
        starts = [start for _ in range(3) if (start := _start(name, setup, []))]
        medians = [statistics.median(column) for column in zip(*starts, strict=True)] or [None, None]
        rows.append([name, *(number(median, 2) for median in medians)])
    return Table("Seconds from the start of the process, the model that ships", ["", "ready", "first token"], rows)


def _table(runs: list[dict[str, Any]], servers: tuple[str, ...]) -> Table:
    rows = []
    for name in servers:
        row = [name]
        for state in ("warm", "cold"):
            starts = [run[f"{name} {state}"] for run in runs if run[f"{name} {state}"]]
            row += [number(statistics.median(column), 2) for column in zip(*starts, strict=True)] or ["–", "–"]
        rows.append(row)
    columns = ["", "warm: ready", "warm: first token", "cold: ready", "cold: first token"]
    return Table("Seconds from the start of the process", columns, rows)


def _floor(runs: list[dict[str, Any]]) -> Table:
    rows = []
    for name in ("ixmodal-ctransformers bare", "ixmodal-llama_cpp bare", "disk"):
        spread = Spread.of([run[name] for run in runs if run.get(name)])
        label = "reading the file from the disk" if name == "disk" else f"imports and mapping, {name.split()[0]}"
        rows.append([label, ratio(spread)])
    return Table("What it is held against, seconds, median (least to most)", ["", "seconds"], rows)


def _requirements(runs: list[dict[str, Any]], servers: tuple[str, ...]) -> list[Requirement]:
    found = []
    for name in (name for name in servers if name in ENGINES):
        warm = [run[f"{name} warm"] and run[f"{name} warm"][0] for run in runs]
        bare = [run[f"{name} bare"] for run in runs]
        spread = Spread.of_ratios(warm, bare)
        found.append(Requirement(f"{name}, ready, warm / imports and mapping", spread, at_most=1.3))
        # What the disk adds to a warm start, as a speed: where reading goes on beside the imports, it adds less.
        speeds = [
            run["disk"] / max(1e-3, run[f"{name} cold"][1] - run[f"{name} warm"][1])
            for run in runs
            if run[f"{name} cold"] and run[f"{name} warm"]
        ]
        what = f"{name}, the file's size / what a cold cache adds to the first token / the disk's speed"
        found.append(Requirement(what, Spread.of(speeds), at_least=0.8))
    return found
