from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ixmodal.engine.messages import Load, Ready
from ixmodal.engine.process import EngineProcess
from tests.engine.helpers import PATIENCE


def load(backend: str = "scripted") -> Load:
    return Load(backend=backend, path="", slots=1, batch_size=8, threads=1)


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_frames_come_until_the_child_is_killed() -> None:
    process = await EngineProcess.spawn(load())
    batches = process.messages()
    first = await asyncio.wait_for(anext(batches), PATIENCE)
    assert isinstance(first[0], Ready)
    process.kill()
    assert [batch async for batch in batches] == []
    assert await process.close() == "signal SIGKILL"
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


async def test_hanging_up_ends_the_child_in_peace() -> None:
    process = await EngineProcess.spawn(load())
    await asyncio.wait_for(anext(process.messages()), PATIENCE)
    assert await process.close() == "exit code 0"


async def test_the_last_words_of_a_child_are_kept() -> None:
    process = await EngineProcess.spawn(load("no_such_backend"))
    assert [batch async for batch in process.messages()] == []
    assert await process.close() == "exit code 1"
    assert "No module named 'ixmodal.backends.no_such_backend'" in process.last_words[-1]
    assert len(process.last_words) <= 20


async def test_a_child_that_sends_no_frames_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    process = await EngineProcess.spawn(load())

    async def garbage(_limit: int) -> bytes:
        return b"\xff" * 64

    monkeypatch.setattr(process._reader, "read", garbage)
    assert [batch async for batch in process.messages()] == []
    await process.close()


async def test_a_spawn_that_is_cancelled_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def noted(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        children.append(popen(*args, **options))
        return children[-1]

    async def cancelled(**_options: Any) -> NoReturn:
        raise asyncio.CancelledError

    monkeypatch.setattr("ixmodal.engine.process.subprocess.Popen", noted)
    monkeypatch.setattr("ixmodal.engine.process.asyncio.open_connection", cancelled)
    before = open_descriptors()
    with pytest.raises(asyncio.CancelledError):
        await EngineProcess.spawn(load())
    assert [child.returncode for child in children] == [-9]
    assert open_descriptors() == before


async def test_no_descriptor_is_left_open() -> None:
    async def life() -> None:
        process = await EngineProcess.spawn(load())
        await asyncio.wait_for(anext(process.messages()), PATIENCE)
        await process.close()

    await life()  # the loop and its thread pool open what they keep
    before = open_descriptors()
    for _ in range(3):
        await life()
    assert open_descriptors() <= before
