from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ixmodal.engine import child
from ixmodal.engine.messages import Load, Ready
from ixmodal.engine.process import EngineProcess
from tests.engine.helpers import Inbox
from tests.support.server import ROOT

LOAD = Load(backend="scripted", path="", slots=1, batch_size=8, threads=1)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before, others = descriptors(), children()
    yield
    child.dismiss()
    assert descriptors() <= before
    assert children() == others


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def children() -> set[psutil.Process]:
    """Of this process: servers that tests share are among them."""
    return set(psutil.Process().children())


def prepared_process() -> psutil.Process:
    """The one child that was prepared; it waits for what to load."""
    others = children()
    child.prepare()
    [found] = children() - others
    return found


async def test_the_process_that_was_prepared_is_the_next_that_loads() -> None:
    await asyncio.to_thread(int)  # the loop and its thread pool open what they keep
    others = children()
    waiting = prepared_process()
    child.prepare()
    assert children() - others == {waiting}
    inbox = Inbox()
    process = await EngineProcess.spawn(LOAD, inbox)
    assert process.pid == waiting.pid
    ready = await inbox.first()
    assert isinstance(ready, Ready)
    other = child.spawn()
    assert other.process.pid != waiting.pid
    other.discard()
    assert await process.close() == "exit code 0"


async def test_a_prepared_process_that_died_is_replaced() -> None:
    waiting = prepared_process()
    waiting.kill()
    await asyncio.to_thread(os.waitid, os.P_PID, waiting.pid, os.WEXITED | os.WNOWAIT)
    inbox = Inbox()
    process = await EngineProcess.spawn(LOAD, inbox)
    assert process.pid != waiting.pid
    ready = await inbox.first()
    assert isinstance(ready, Ready)
    await process.close()


def test_a_process_that_is_not_needed_is_ended() -> None:
    waiting = prepared_process()
    child.dismiss()
    assert not waiting.is_running()


def test_a_server_that_can_not_be_composed_leaves_no_process() -> None:
    seen: list[psutil.Process] = []
    others = children()

    def compose() -> None:
        with child.beside():
            seen.extend(children() - others)
            assert not gc.isenabled()
            raise SystemExit(1)

    with pytest.raises(SystemExit):
        compose()
    assert [waiting.is_running() for waiting in seen] == [False]
    assert gc.isenabled()


def test_where_no_process_can_be_started_that_is_told_when_one_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("ixmodal.engine.child.subprocess.Popen", refuse)
    child.prepare()
    with pytest.raises(BlockingIOError):
        child.spawn()


def test_forks_of_the_server_have_processes_of_their_own() -> None:
    script = """
import os
from ixmodal.engine import child
child.prepare()
first = child._prepared[0].process.pid
if forked := os.fork():
    assert os.waitpid(forked, 0)[1] == 0
    own = child.spawn()
    assert own.process.pid == first and own.process.poll() is None
else:
    own = child.spawn()
    assert own.process.pid != first
own.discard()
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


async def test_the_engine_starts_no_threads_that_spin_beside_it() -> None:
    inbox = Inbox()
    process = await EngineProcess.spawn(LOAD, inbox)
    await inbox.first()
    assert psutil.Process(process.pid).num_threads() == 2  # its own, and the one that looks after its parent
    await process.close()
