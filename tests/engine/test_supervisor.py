from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ixmodal.engine.messages import Generate, Load
from ixmodal.engine.request import FinishReason, GenerationRequest, SamplingParams, TextPrompt
from ixmodal.engine.stream import Stream
from ixmodal.engine.supervisor import EngineState, Supervisor
from ixmodal.errors import (
    EngineDeadError,
    EngineNotReadyError,
    InvalidRequestError,
    IxmodalError,
    ServerStoppingError,
    UnsupportedModelError,
    WeightsError,
)
from tests.engine.helpers import PATIENCE, until
from tests.support.gguf_files import write_tiny


@pytest.fixture(autouse=True)
def quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ixmodal.engine.supervisor._FIRST_BACKOFF", 0.001)
    monkeypatch.setattr("ixmodal.engine.process._EXIT_GRACE", 0.2)


@asynccontextmanager
async def supervised(path: str = "scripted", backend: str = "scripted", **limits: Any) -> AsyncIterator[Supervisor]:
    load = Load(backend=backend, path=path, slots=2, batch_size=16, threads=1)
    defaults: dict[str, Any] = {"load_timeout": PATIENCE, "progress_timeout": PATIENCE, "max_restarts": 3}
    supervisor = Supervisor(load, **(defaults | limits))
    supervisor.start()
    try:
        yield supervisor
    finally:
        await asyncio.wait_for(supervisor.stop(), PATIENCE)
        assert supervisor.pid is None


async def ready(supervisor: Supervisor) -> int:
    await asyncio.wait_for(supervisor.wait_ready(), PATIENCE)
    assert supervisor.pid is not None
    return supervisor.pid


async def failed(supervisor: Supervisor) -> IxmodalError:
    with pytest.raises(IxmodalError) as caught:
        await asyncio.wait_for(supervisor.wait_ready(), PATIENCE)
    return caught.value


def ask(prompt: str, **sampling: Any) -> GenerationRequest:
    return GenerationRequest(TextPrompt(prompt), SamplingParams(temperature=0.0, **sampling))


def submit(supervisor: Supervisor, request: GenerationRequest) -> Stream:
    stream = Stream()
    supervisor.submit(lambda number: Generate(number, request), stream)
    return stream


async def whole(stream: Stream) -> tuple[str, FinishReason]:
    text = ""
    while True:
        output = await asyncio.wait_for(stream.next(), PATIENCE)
        text += output.text
        if output.finish_reason:
            return text, output.finish_reason


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_ready_then_answers_then_gone() -> None:
    async with supervised() as supervisor:
        assert supervisor.state is EngineState.LOADING
        pid = await ready(supervisor)
        assert supervisor.state is EngineState.READY
        assert supervisor.model is not None
        assert supervisor.model.vocabulary_size == 261
        one, two = submit(supervisor, ask("say:one|")), submit(supervisor, ask("say:two|"))
        assert await whole(two) == ("two", FinishReason.STOP)
        assert await whole(one) == ("one", FinishReason.STOP)
        assert alive(pid)
    assert not alive(pid)
    assert supervisor.state is EngineState.STOPPED


async def test_before_it_is_ready_nothing_is_taken() -> None:
    async with supervised() as supervisor:
        with pytest.raises(EngineNotReadyError, match="loading"):
            submit(supervisor, ask("a|"))


async def test_stopping_ends_what_waits() -> None:
    async with supervised() as supervisor:
        await ready(supervisor)
        stream = submit(supervisor, ask("!forever say:a|"))
        await stream.next()
        await supervisor.stop()
        with pytest.raises(ServerStoppingError):
            await whole(stream)
        with pytest.raises(ServerStoppingError):
            await supervisor.wait_ready()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_a_death_is_an_error_of_what_ran_and_a_new_process(how: signal.Signals) -> None:
    async with supervised() as supervisor:
        pid = await ready(supervisor)
        stream = submit(supervisor, ask("!forever say:a|", max_tokens=100_000))
        await stream.next()
        os.kill(pid, how)
        with pytest.raises(EngineDeadError, match=f"signal {how.name}"):
            await whole(stream)
        assert await ready(supervisor) != pid
        assert not alive(pid)
        assert supervisor.restarts == 1
        stream = submit(supervisor, ask("say:again|"))
        assert (await whole(stream))[0] == "again"


async def test_a_hang_is_noticed_by_the_lack_of_progress() -> None:
    async with supervised(progress_timeout=0.3) as supervisor:
        pid = await ready(supervisor)
        stream = submit(supervisor, ask("!hang say:a|"))
        with pytest.raises(EngineDeadError, match="SIGKILL"):
            await whole(stream)
        assert await ready(supervisor) != pid


async def test_slow_is_no_hang_and_idle_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    async with supervised(progress_timeout=0.4) as supervisor:
        pid = await ready(supervisor)
        stream = submit(supervisor, ask("!slow=0.1 say:123456|"))  # some 0.9 s in all, a step every 0.1 s
        assert (await whole(stream))[0] == "123456"
        looks = 0

        def look() -> float:
            nonlocal looks
            looks += 1
            return 1e9  # idle for ages, and nobody took leave of the stream yet

        with monkeypatch.context() as patch:
            patch.setattr("ixmodal.engine.supervisor.time", SimpleNamespace(monotonic=look))
            await until(lambda: looks > 2)
        stream = submit(supervisor, ask("say:ok|"))
        assert (await whole(stream))[0] == "ok"
        assert supervisor.pid == pid


async def test_a_load_that_hangs_is_ended_and_tried_no_more_than_a_few_times() -> None:
    told: list[IxmodalError] = []
    async with supervised("!hang-load", load_timeout=0.4, max_restarts=5) as supervisor:
        supervisor.on_failed = told.append
        error = await failed(supervisor)
        assert "died 3 times in a row, the last time by signal SIGKILL" in error.message
        assert supervisor.state is EngineState.FAILED
        assert told == [error]


async def test_a_load_that_crashes_is_tried_no_more_than_a_few_times() -> None:
    async with supervised("!crash-load") as supervisor:
        assert "by signal SIGSEGV" in (await failed(supervisor)).message
        assert supervisor.restarts == 2


@pytest.mark.parametrize(
    ("backend", "path", "kind", "expected"),
    [
        ("scripted", "!fail-load", WeightsError, "the script says"),
        ("ctransformers", "absent.gguf", WeightsError, "absent.gguf does not exist"),
    ],
)
async def test_what_can_never_load_is_not_tried_again(
    backend: str, path: str, kind: type[IxmodalError], expected: str
) -> None:
    async with supervised(path, backend) as supervisor:
        error = await failed(supervisor)
        assert type(error) is kind
        assert expected in error.message
        assert (supervisor.state, supervisor.restarts) == (EngineState.FAILED, 0)


async def test_an_unsupported_model_keeps_its_kind(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m.gguf", **{"general.architecture": "qwen2"})
    async with supervised(str(path), "ctransformers") as supervisor:
        assert type(await failed(supervisor)) is UnsupportedModelError


async def test_patience_ends_after_deaths_in_a_row() -> None:
    told: list[IxmodalError] = []
    async with supervised(max_restarts=1) as supervisor:
        supervisor.on_failed = told.append
        for _ in range(2):
            await ready(supervisor)
            stream = submit(supervisor, ask("!crash|"))
            with pytest.raises(EngineDeadError):
                await whole(stream)
        assert "died 2 times in a row, the last time by signal SIGSEGV" in (await failed(supervisor)).message
        assert supervisor.state is EngineState.FAILED
        assert len(told) == 1
        with pytest.raises(EngineNotReadyError, match="failed"):
            submit(supervisor, ask("say:a|"))


async def test_deaths_between_which_it_was_useful_are_not_in_a_row() -> None:
    async with supervised(max_restarts=1) as supervisor:
        for _ in range(3):
            pid = await ready(supervisor)
            stream = submit(supervisor, ask("say:fine|"))
            assert (await whole(stream))[0] == "fine"
            os.kill(pid, signal.SIGKILL)
            await until(lambda: supervisor.pid != pid)  # noqa: B023  # called before `pid` changes
        await ready(supervisor)


async def test_pauses_grow_from_death_to_death(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if asyncio.current_task() is supervisor._task:
            pauses.append(seconds)
        await sleep(0 if asyncio.current_task() is supervisor._task else seconds)

    monkeypatch.setattr("ixmodal.engine.supervisor._FIRST_BACKOFF", 0.05)
    monkeypatch.setattr("ixmodal.engine.supervisor._LONGEST_BACKOFF", 1.0)
    monkeypatch.setattr("ixmodal.engine.supervisor._RESTARTS_BEFORE_READY", 4)
    monkeypatch.setattr("ixmodal.engine.supervisor.asyncio.sleep", noted)
    monkeypatch.setattr("ixmodal.engine.supervisor.random.uniform", lambda _low, high: high)
    async with supervised("!crash-load", max_restarts=4) as supervisor:
        await failed(supervisor)
    assert pauses == pytest.approx([0.05, 0.2, 0.8, 1.0])


async def test_a_stream_that_nobody_reads_any_more_is_cancelled() -> None:
    async with supervised() as supervisor:
        await ready(supervisor)
        for _ in range(2):
            request, stream = ask("!forever say:a|", max_tokens=100_000), Stream()
            number = supervisor.submit(partial(Generate, request=request), stream)
            await stream.next()
            supervisor.forget(number)
        for word in ("one", "two"):
            stream = submit(supervisor, ask(f"say:{word}|"))
            assert (await whole(stream))[0] == word


@pytest.mark.parametrize("text", ["\ud800", "ok \udfff"])
async def test_what_no_frame_can_hold_is_refused_and_leaves_nothing_behind(text: str) -> None:
    async with supervised() as supervisor:
        pid = await ready(supervisor)
        with pytest.raises(InvalidRequestError, match="can't be sent"):
            submit(supervisor, ask(text))
        assert not supervisor._streams  # or the watch would take the silence for a hang
        stream = submit(supervisor, ask("say:ok|"))
        assert (await whole(stream))[0] == "ok"
        assert supervisor.pid == pid


async def test_a_death_is_logged_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    async with supervised() as supervisor:
        pid = await ready(supervisor)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: supervisor.pid != pid)
        await ready(supervisor)
    assert any("ended by signal SIGKILL; restart 1 in" in record.getMessage() for record in caplog.records)
