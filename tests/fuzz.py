"""Fuzzing at length: `python -m tests.fuzz --cases 10000`, or `make fuzz`.

A real server with the model that ships takes generated requests until so many were answered, three in four made of its
own document, the rest of what no schema allows. At the end its engine must be the process that it was. Stops at the
first case that fails, and shows it.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import count

import psutil

from tests.support.fuzzing import PHASES, Outcome, by_oddities, by_schema, unharmed
from tests.support.server import DEMO, Server, serve

SPEC = {"default_model": "demo", "limits": {"max_tokens": 16}}


def fuzz(server: Server, cases: int) -> Outcome:
    """Send at least so many."""
    found = Outcome()
    for turn in count():
        # The borders of each keyword are the same every time: once is enough.
        phases = PHASES if turn == 0 else PHASES[1:]
        found += by_schema(server.url, phases=phases, examples=60)
        found += by_oddities(server, max(200, found.cases // 3 - found.odd))
        megabytes = psutil.Process(server.process.pid).memory_info().rss >> 20
        print(f"{found.cases} cases, {found.odd} of them odd; server {megabytes} MiB", flush=True)
        if found.cases >= cases:
            return found
    raise AssertionError


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    cases = parser.parse_args().cases
    began = time.monotonic()
    with serve(DEMO, {"IXMODAL_SPEC": json.dumps(SPEC)}) as server, unharmed(server):
        found = fuzz(server, cases)
    print(f"{found.cases} cases in {time.monotonic() - began:.0f} s: no 5xx, nothing undeclared, the engine lives")
    for name, accepted in sorted(found.accepted.items()):
        print(f"  {accepted:6} accepted  {name}")


if __name__ == "__main__":
    main()
