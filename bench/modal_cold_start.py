"""From a container's start to the first token of the model that ships, on Modal: `python -m bench.modal_cold_start`.

Deploys with the real CLI to a control plane on loopback, then starts the real container entrypoint again and again. As
on Modal, a request waits before the container exists. The stages are those that a replica's log tells (imports,
weights, load); what follows, from ready to the first token, has the platform's hand-over in it. There is no image to
fetch, no scheduler and no network here: what Modal adds is its own.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from bench.machine import describe_machine
from ixmodal import App, Modal
from tests.support.modal_apps import connect, deploy
from tests.support.modal_loopback import Container, ControlPlane, Front

RESULT = Path(__file__).parent / "results" / "modal_cold_start.json"
_STAGE = re.compile(r"(imports|weights|load) ([0-9.]+) s")


def ask(front: Front) -> tuple[float, str]:
    """When the first token came, and the whole answer."""
    first, said = 0.0, ""
    with connect(front) as client:
        question = [{"role": "user", "content": "What is the capital of France?"}]
        for chunk in client.chat.completions.create(
            model="demo",
            messages=question,  # type: ignore[arg-type]  # a literal of the right shape
            temperature=0,
            stream=True,
        ):
            said += chunk.choices[0].delta.content or ""
            if said and not first:
                first = time.perf_counter()
    return first, said


def cold_start(control_plane: ControlPlane, snapshot: bool) -> dict[str, float]:
    """Seconds of each stage of one container's start; with a snapshot, of what comes after it."""
    result: list[tuple[float, str]] = []
    with tempfile.TemporaryDirectory() as folder, Front(control_plane.loop) as front:
        asking = threading.Thread(target=lambda: result.append(ask(front)))
        asking.start()
        began = time.perf_counter()
        with Container(control_plane, Path(folder), front=front) as container:
            if snapshot:
                container.wait_snapshot()
                time.sleep(0.5)  # it closes its connections
                began = time.perf_counter()
                container.restore()
            asking.join(60)
            ((first, said),) = result
            assert "Paris" in said, said
            stages = {name: float(seconds) for name, seconds in _STAGE.findall(container.log)}
            busy = processor_seconds(container.pid)
    total = first - began
    stages |= {"hand-over and first token": total - sum(stages.values()), "container start to first token": total}
    return stages if snapshot else {**stages, "processor time of all processes": busy}


def processor_seconds(pid: int) -> float:
    """Seconds of processor time of a process and all below it: unlike the clock's, no neighbour adds to them."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return float(sum(sum(process.cpu_times()[:2]) for process in family))


def measure(runs: int, spec: App) -> dict[str, Any]:
    """Medians and extremes of several starts of one deploy."""
    with ControlPlane() as control_plane:
        deploy(control_plane, spec)
        rows = [cold_start(control_plane, spec.modal.snapshot != "off") for _ in range(runs)]
    totals = [row["container start to first token"] for row in rows]
    return {
        "median_seconds": {name: round(statistics.median(row[name] for row in rows), 3) for name in rows[0]},
        "least_to_most": [round(min(totals), 3), round(max(totals), 3)],
    }


def main() -> None:
    """Measure, print, and record if asked."""
    parser = argparse.ArgumentParser(description="cold start of the deployed class")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--record", action="store_true", help=f"write {RESULT.name}")
    arguments = parser.parse_args()
    record = {
        "machine": describe_machine(),
        "runs": arguments.runs,
        "without a snapshot": measure(arguments.runs, App()),
        "after a snapshot of the CPU": measure(arguments.runs, App(modal=Modal(snapshot="cpu"))),
    }
    text = json.dumps(record, indent=2)
    print(text)
    if arguments.record:
        RESULT.write_text(text + "\n")


if __name__ == "__main__":
    main()
