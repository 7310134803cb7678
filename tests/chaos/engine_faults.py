"""What breaks in the engine's process: death, silence, a start that fails, weights that are gone."""

from __future__ import annotations

import json
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.load import Load, Question, real, scripted
from tests.chaos.report import Row, measured
from tests.support.gguf_files import write_tiny
from tests.support.server import DEMO, SCRIPTED, Server, launch, serve, wait_for

_WARM_UP = 1.0


def spec_of(*, model: dict[str, Any] | None = None, **limits: Any) -> dict[str, str]:
    """The environment of a server with four slots."""
    models = [{"id": "demo", "slots": 4} | (model or {})]
    return {"IXMODAL_SPEC": json.dumps({"models": models, "limits": {"max_restarts": 20} | limits})}


def warm_up(server: Server, ask: Callable[[], Question]) -> None:
    """Let the first requests fill the caches that any request would."""
    with Load(server, ask):
        time.sleep(_WARM_UP)


def hit_engine(row: Row, server: Server, seconds: float, how: signal.Signals, every: tuple[float, float]) -> None:
    """Send an engine a signal at random moments, whatever it is doing, its start included."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(random.uniform(*every))
        for engine in server.engines():
            try:
                engine.send_signal(how)
            except psutil.NoSuchProcess:
                continue
            row.faults += 1


def dies(seconds: float, how: signal.Signals, *, of_demo: bool) -> Row:
    """The engine is killed again and again."""
    row = Row(f"{how.name} of the {'shipped' if of_demo else 'scripted'} model's engine")
    ask = real if of_demo else scripted
    with serve(DEMO if of_demo else SCRIPTED, spec_of()) as server:
        warm_up(server, ask)
        with measured(row, server):
            with Load(server, ask, clients=8) as load:
                hit_engine(row, server, seconds, how, (0.5, 5.0))
            row.tally = load.tally
    row.check()
    return row


def hangs(seconds: float) -> Row:
    """One request in twenty makes the engine hang."""
    row = Row("`!hang` in one request of 20")

    def ask() -> Question:
        if random.random() < 0.05:
            row.faults += 1
            return scripted("!hang")
        return scripted()

    with serve(SCRIPTED, spec_of(progress_timeout=0.5)) as server:
        warm_up(server, scripted)
        with measured(row, server), Load(server, ask, clients=6) as load:
            time.sleep(seconds)
        row.tally = load.tally
    row.check()
    return row


def is_stopped(seconds: float) -> Row:
    """The shipped model's engine is stopped, as a debugger or a frozen machine would."""
    row = Row("SIGSTOP of the shipped model's engine")
    with serve(DEMO, spec_of(progress_timeout=0.7, load_timeout=5)) as server:
        warm_up(server, real)
        with measured(row, server):
            with Load(server, real, clients=6) as load:
                hit_engine(row, server, seconds, signal.SIGSTOP, (1.5, 3.0))
            row.tally = load.tally
    row.check()
    return row


def will_not_start(seconds: float) -> Row:
    """The engine never comes up: requests are told to wait, and the server gives up, for a platform to replace it."""
    row = Row("an engine that will not start")
    del seconds  # it takes as long as it takes to give up
    environment = spec_of(queue_timeout=1) | {"TEST_ENGINE": "!crash-load"}
    with launch(("tests.support.scripted_cli", "serve"), environment) as server:
        wait_for(lambda: "Uvicorn running" in server.log, 30, lambda: server.log)
        with Load(server, scripted, clients=4) as load:
            load.may_end = True
            code = server.process.wait(30)
        row.tally, row.faults = load.tally, 3
        if code != 1 or "died 3 times in a row" not in server.log:
            row.problems.append(f"code {code}: {server.log[-500:]}")
    row.check(completed=False)
    return row


def weights_vanish(seconds: float) -> Row:
    """The file is deleted under a running engine, which goes on; once it dies, the server can't go on, and says why."""
    row = Row("vanished weights, then SIGKILL of the engine")
    with tempfile.TemporaryDirectory() as folder:
        weights = write_tiny(Path(folder, "tiny.gguf"))
        model = {"source": f"file://{weights}", "threads": 1, "chat_template": "{{ messages[0].content }}"}
        with serve(DEMO, spec_of(model=model)) as server:
            with Load(server, real) as load:
                time.sleep(min(2.0, seconds / 2))
                weights.unlink()
                time.sleep(min(2.0, seconds / 2))
                completed = load.tally.counts.copy()
                load.may_end = True
                for engine in server.engines():
                    engine.kill()
                    row.faults += 1
                code = server.process.wait(60)
            row.tally = load.tally
            if code != 1 or "does not exist" not in server.log:
                row.problems.append(f"code {code}: {server.log[-500:]}")
    row.notes.append(f"{completed['completed']} completed before the kill; then exit code {code}, as it must be")
    row.check()
    return row
