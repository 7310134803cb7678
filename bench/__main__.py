"""The benchmark: `python -m bench CASE …`, `all`, or `tables`, which writes docs/performance.md anew from the records.

Starts servers on the same file with the same threads, drives each in turn with the same load, and prints tables and
ratios. With --record it writes bench/results and docs/performance.md as well.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import traceback

from bench import peers
from bench.cases import CASES
from bench.options import Options
from bench.record import write_document
from bench.servers import NAMES


def main() -> None:
    """Run the cases asked for; exit code 1 if one failed."""
    arguments = _arguments()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: servers in Python don't compile at every start
    cases = CASES if "all" in arguments.cases else tuple(case for case in arguments.cases if case != "tables")
    if cases and (missing := peers.missing()):
        print(f"{', '.join(missing)} not there: run `python -m bench.peers`; those servers are left out", flush=True)
    options = Options(
        tuple(arguments.servers or NAMES),
        arguments.repetitions,
        tuple(arguments.streams) if arguments.streams else None,
        arguments.threads,
        arguments.record,
    )
    failed = [case for case in cases if not _run(case, options)]
    if arguments.record or "tables" in arguments.cases:
        for case in write_document():
            print(f"docs/performance.md: no record of {case} yet")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cases", nargs="+", choices=[*CASES, "all", "tables"], metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--record", action="store_true", help="write bench/results and docs/performance.md")
    parser.add_argument("--servers", nargs="+", choices=NAMES, help="only these")
    parser.add_argument("--repetitions", type=int, help="instead of a case's own number")
    parser.add_argument("--streams", type=int, nargs="+", help="instead of a case's own")
    parser.add_argument("--threads", type=int, default=1, help="of every engine (default: %(default)s)")
    return parser.parse_args()


def _run(case: str, options: Options) -> bool:
    """Whether a case came to its end. One that fails leaves the others their turn."""
    began = time.perf_counter()
    print(f"\n## {case}", flush=True)
    try:
        record = importlib.import_module(f"bench.cases.{case}").measure(options)
    except Exception:  # noqa: BLE001  # whatever it is, it is told and the next case runs
        traceback.print_exc()
        return False
    record.command = " ".join(["python -m bench", case, *_options()])
    print(f"\n{record.markdown()}\n\n{case}: {time.perf_counter() - began:.0f} s", flush=True)
    if options.record:
        record.write()
        write_document()  # now, so that a later case can't cost it
    return True


def _options() -> list[str]:
    return [word for word in sys.argv[1:] if word not in (*CASES, "all", "--record")]


if __name__ == "__main__":
    main()
