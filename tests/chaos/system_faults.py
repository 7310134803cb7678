"""What the system refuses: room on the disk, descriptors, a clock that only goes forward; and its wish to end."""

from __future__ import annotations

import json
import random
import resource
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil

from tests.chaos.client_faults import BOUNDED, connect
from tests.chaos.engine_faults import spec_of, warm_up
from tests.chaos.load import LETTERS, Load, Question, scripted
from tests.chaos.report import Row, measured
from tests.chaos.tally import Outcome
from tests.support.server import SCRIPTED, serve

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
_JUMPING = ("uvicorn", "--factory", "tests.chaos.jumping_clock:build")
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def disk_full(seconds: float) -> Row:
    """No file may grow: what is to be stored fails honestly, all else goes on; with room again, so does storing."""
    row = Row("a full disk")

    def stored() -> Question:
        text = "".join(random.choices(LETTERS, k=20))
        return Question({"model": "demo", "input": f"say:{text}"}, text, "/v1/responses")

    def ask() -> Question:
        return stored() if random.random() < 0.3 else scripted()

    with serve(SCRIPTED, spec_of()) as server:
        warm_up(server, ask)
        process = psutil.Process(server.process.pid)
        with measured(row, server):
            with Load(server, ask) as load:
                process.rlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
                row.faults += 1
                time.sleep(seconds)
            row.tally = load.tally
            process.rlimit(resource.RLIMIT_FSIZE, _UNLIMITED)
        with Load(server, stored) as load:
            time.sleep(1)
        if load.tally[Outcome.COMPLETED] != load.tally.sent:
            row.problems.append(f"it does not store again once there is room: {dict(load.tally.reasons)}")
    if not row.tally[Outcome.FAILED]:
        row.problems.append("nothing failed on a full disk")
    row.check()
    return row


def no_descriptors(seconds: float) -> Row:
    """Idle connections take every descriptor that is left; an engine dies meanwhile, and must be replaced."""
    row = Row("no file descriptors left")
    with serve(BOUNDED, spec_of(header_timeout=1)) as server:
        warm_up(server, scripted)
        process = psutil.Process(server.process.pid)
        with measured(row, server):
            before = process.rlimit(resource.RLIMIT_NOFILE)
            limit = 320
            process.rlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
            with Load(server, scripted) as load:
                deadline = time.monotonic() + seconds
                while time.monotonic() < deadline:
                    idle = [connect(server) for _ in range(400)]
                    row.faults += len(idle)
                    for engine in server.engines():
                        engine.kill()
                    time.sleep(1.0)
                    for connection in idle:
                        connection.close()
                    time.sleep(0.5)
            row.tally = load.tally
            process.rlimit(resource.RLIMIT_NOFILE, before)
    row.check()
    return row


def clock_jumps(seconds: float) -> Row:
    """The wall clock jumps by hours and days, forward and back; nothing that waits may notice. Needs libfaketime."""
    row = Row("jumps of the wall clock")
    with tempfile.TemporaryDirectory() as folder:
        clock = Path(folder, "clock")
        clock.write_text("+0\n")
        environment = spec_of(progress_timeout=2, queue_timeout=5, request_timeout=10) | {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        with serve(_JUMPING, environment) as server:
            warm_up(server, scripted)
            with measured(row, server):
                with Load(server, scripted) as load:
                    deadline = time.monotonic() + seconds
                    while time.monotonic() < deadline:
                        clock.write_text(f"{random.choice(['+', '-'])}{random.randint(1, 300_000)}\n")
                        row.faults += 1
                        time.sleep(0.4)
                    clock.write_text("+864000\n")
                    time.sleep(0.5)
                row.tally = load.tally
                _expect_ten_days_ahead(row, server.url)
    row.check()
    return row


def _expect_ten_days_ahead(row: Row, url: str) -> None:
    """The clock that the server sees must really have jumped."""
    question = scripted().body | {"stream": False}
    answer = httpx.post(f"{url}/v1/chat/completions", content=json.dumps(question))
    there = datetime.fromtimestamp(answer.json()["created"], UTC)
    if there - datetime.now(UTC) < timedelta(days=9):
        row.problems.append("the clock did not jump")


def is_told_to_end(seconds: float) -> Row:
    """SIGTERM under load: whoever was let in gets its answer, whoever comes later is refused, and the code is 0."""
    row = Row("SIGTERM under load")
    deadline = time.monotonic() + seconds
    while True:
        with serve(SCRIPTED, spec_of()) as server:
            with Load(server, scripted, clients=8) as load:
                time.sleep(random.uniform(1, 2))
                load.may_end = True
                server.process.terminate()
                code = server.process.wait(20)
            row.faults += 1
            row.tally.counts += load.tally.counts
            row.tally.reasons += load.tally.reasons
            if code != 0:
                row.problems.append(f"exit code {code}")
        if time.monotonic() > deadline:
            break
    row.check()
    return row
