"""Memory of each server alone: after its start, and after 8 streams."""

from __future__ import annotations

from bench.fleet import fleet
from bench.models import NAMES, model_file
from bench.options import Options
from bench.processes import proportional_mib
from bench.record import Record, Table
from bench.servers import Setup

STREAMS, CONTEXT = 8, 512


def measure(options: Options) -> Record:
    """One server at a time: pages that two servers map would be split between them."""
    setup = Setup(model_file("110m"), slots=STREAMS, context=CONTEXT, threads=options.threads)
    runs, problems = [], []
    for name in options.servers:
        with fleet([name], setup) as alone:
            server = alone.server(name)
            if server:
                started = proportional_mib(server.pid)
                alone.drive(name, streams=STREAMS, conversations=STREAMS, chat=False, prompt_words=200, max_tokens=8)
                runs.append({"server": name, "started": started, "loaded": proportional_mib(server.pid)})
                print(f"  {name:22} {runs[-1]['loaded']}", flush=True)
            problems += alone.problems
    size = setup.model.stat().st_size / 2**20
    about = (
        f"{NAMES['110m']}, a file of {size:.0f} MiB; {STREAMS} slots of {CONTEXT} tokens; proportional set size of all "
        "processes of a server, which runs alone."
    )
    rows = [[run["server"], *(f"{run[at][part]:.0f}" for at, part in _PARTS)] for run in runs]
    columns = ["", "after its start", "after 8 prompts of 200 words", "of that its own", "of that mapped files"]
    return Record("memory", about, {}, [Table("MiB", columns, rows)], runs=runs, problems=problems)


_PARTS = (("started", "total"), ("loaded", "total"), ("loaded", "anonymous"), ("loaded", "file"))
