"""`python -m tests.chaos [--seconds 60] [--only WORD]`: every fault for so long, and a table of what became of it.

Ends with code 1 if a request was lost, or if memory or descriptors did not come back.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from tests.chaos import client_faults, engine_faults, overload, system_faults
from tests.chaos.report import HEAD, Row

SCENARIOS: dict[str, Callable[[float], Row]] = {
    "kill": partial(engine_faults.dies, how=signal.SIGKILL, of_demo=False),
    "segv": partial(engine_faults.dies, how=signal.SIGSEGV, of_demo=True),
    "hang": engine_faults.hangs,
    "stop": engine_faults.is_stopped,
    "start": engine_faults.will_not_start,
    "weights": engine_faults.weights_vanish,
    "disk": system_faults.disk_full,
    "descriptors": system_faults.no_descriptors,
    "reader": client_faults.stop_reading,
    "half-open": client_faults.half_open,
    "headers": client_faults.slow_head,
    "clock": system_faults.clock_jumps,
    "term": system_faults.is_told_to_end,
    "overload": overload.overload,
}


def _run(name: str, seconds: float) -> Row:
    """A scenario's row, even if the server never got well."""
    try:
        return SCENARIOS[name](seconds)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return Row(name, problems=[f"{error!s:.300} … {str(error)[-500:]}"])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long each fault goes on")
    parser.add_argument("--only", choices=SCENARIOS, nargs="+", default=list(SCENARIOS), help="these faults alone")
    asked = parser.parse_args()
    if "clock" in asked.only and not system_faults.FAKETIME.exists():
        print(
            f"{system_faults.FAKETIME} is missing: apt-get install libfaketime, or leave out `clock`", file=sys.stderr
        )
        return 2
    rows = []
    print(HEAD, "|---" * HEAD.count(" | ") + "|---|", sep="\n", flush=True)
    began = time.monotonic()
    for name in asked.only:
        rows.append(_run(name, asked.seconds))
        print(rows[-1], flush=True)
    print(f"\n{time.monotonic() - began:.0f} s")
    for row in rows:
        for note in row.notes:
            print(f"{row.name}: {note}")
        for problem in row.problems:
            print(f"PROBLEM {row.name}: {problem}")
    return 1 if any(row.problems for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
