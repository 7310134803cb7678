from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ixmodal.engine.messages import Delta, Load, Progress, Ready, frame
from ixmodal.engine.process import EngineProcess
from tests.engine.helpers import PATIENCE, Inbox, until


def load(backend: str = "scripted") -> Load:
    return Load(backend=backend, path="", slots=1, batch_size=8, threads=1)


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_frames_come_until_the_child_is_killed() -> None:
    inbox = Inbox()
    process = await EngineProcess.spawn(load(), inbox)
    assert isinstance(await inbox.first(), Ready)
    process.kill()
    await asyncio.wait_for(process.hung_up(), PATIENCE)
    assert len(inbox.messages) == 1
    assert await process.close() == "signal SIGKILL"
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


async def test_hanging_up_ends_the_child_in_peace() -> None:
    inbox = Inbox()
    process = await EngineProcess.spawn(load(), inbox)
    await inbox.first()
    assert await process.close() == "exit code 0"


async def test_the_last_words_of_a_child_are_kept() -> None:
    process = await EngineProcess.spawn(load("no_such_backend"), Inbox())
    await asyncio.wait_for(process.hung_up(), PATIENCE)
    assert await process.close() == "exit code 1"
    assert "No module named 'ixmodal.backends.no_such_backend'" in process.last_words[-1]
    assert len(process.last_words) <= 20


@asynccontextmanager
async def impostor(monkeypatch: pytest.MonkeyPatch, inbox: Inbox) -> AsyncIterator[tuple[EngineProcess, socket.socket]]:
    """A process, and the socket from which it is heard: its child has another, on which nobody listens."""
    ours, childs = socket.socketpair()
    theirs, kept = socket.socketpair()
    with monkeypatch.context() as patch:
        patch.setattr("ixmodal.engine.child.socket.socketpair", lambda: (ours, theirs))
        process = await EngineProcess.spawn(load(), inbox)
    with childs, kept:
        yield process, childs
    await process.close()


async def test_a_child_that_sends_no_frames_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = Inbox()
    async with impostor(monkeypatch, inbox) as (process, child):
        child.sendall(frame([Progress()]) + b"\xff" * 64 + frame([Progress()]))
        await asyncio.wait_for(process.hung_up(), PATIENCE)
    assert inbox.messages == [Progress()]


async def test_messages_cut_anywhere_arrive_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = Inbox()
    sent = [Delta(number, "x" * number, number) for number in range(1, 40)]
    data = frame(sent[:30]) + frame(sent[30:])
    async with impostor(monkeypatch, inbox) as (_, child):
        for start in range(0, len(data), 97):
            child.sendall(data[start : start + 97])
            await asyncio.sleep(0)
        await until(lambda: len(inbox.messages) == len(sent))
    assert inbox.messages == sent


async def test_a_spawn_that_is_cancelled_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def noted(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        children.append(popen(*args, **options))
        return children[-1]

    async def cancelled(*_args: Any, **_options: Any) -> NoReturn:
        raise asyncio.CancelledError

    monkeypatch.setattr("ixmodal.engine.process.subprocess.Popen", noted)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", cancelled)
    before = open_descriptors()
    with pytest.raises(asyncio.CancelledError):
        await EngineProcess.spawn(load(), Inbox())
    assert [child.returncode for child in children] == [-9]
    assert open_descriptors() == before


async def test_no_descriptor_is_left_open() -> None:
    async def life() -> None:
        inbox = Inbox()
        process = await EngineProcess.spawn(load(), inbox)
        await inbox.first()
        await process.close()

    await life()  # the loop and its thread pool open what they keep
    before = open_descriptors()
    for _ in range(3):
        await life()
    assert open_descriptors() <= before
