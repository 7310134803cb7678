"""Models that come and go, over engines that follow a script; the needs of memory are made up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from ixmodal.engine.messages import Load
from ixmodal.engine.request import GenerationRequest, SamplingParams, TextPrompt
from ixmodal.errors import EngineNotReadyError, InsufficientMemoryError, IxmodalError, WeightsError
from ixmodal.models.memory import Need
from ixmodal.runtime import Progress, Runtime, ServedModel
from ixmodal.runtime.memory import MIB
from ixmodal.spec import App, Model
from ixmodal.spec.sources import parse_spec
from tests.engine.helpers import until
from tests.support.scripted import find_scripted


@pytest.fixture(autouse=True)
def _needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ixmodal.runtime.served_model.need_for", lambda _load: Need(0, 0, 0, 100 * MIB, 0))


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    made: list[Runtime] = []

    async def make(models: list[dict[str, Any]], find: Any = find_scripted, **limits: Any) -> Runtime:
        runtime = Runtime(parse_spec({"models": models, "limits": {"drain_timeout": 1, **limits}}), find)
        runtime.on_failed = lambda error: runtime_failures.append(error)
        made.append(runtime)
        await runtime.start()
        return runtime

    yield make
    for runtime in made:
        await runtime.stop()
    runtime_failures.clear()


runtime_failures: list[IxmodalError] = []


def lazy(*ids: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"id": id, "slots": 1, "load": "request", **fields} for id in ids]


async def say(served: ServedModel, prompt: str = "say:hi|") -> str:
    request = GenerationRequest(TextPrompt(prompt), SamplingParams(temperature=0.0))
    async with asyncio.timeout(20), aclosing(served.engine.generate(request)) as outputs:
        return "".join([output.text async for output in outputs])


async def test_a_model_is_loaded_for_the_first_request(start: Start) -> None:
    runtime = await start(lazy("a"))
    served = runtime.models["a"]
    assert (served.state, served.client.pid) == ("cold", None)
    assert runtime.is_ready
    assert await asyncio.gather(say(served), say(served)) == ["hi", "hi"]
    assert served.state == "ready"
    assert served.loaded_at


async def test_an_idle_model_makes_room_and_comes_back(start: Start) -> None:
    runtime = await start(lazy("a", "b"), model_memory_mib=150)
    a, b = runtime.models.values()
    assert await say(a) == "hi"
    assert await say(b) == "hi"
    assert (a.state, b.state) == ("cold", "ready")
    assert await say(a) == "hi"
    assert (a.state, b.state) == ("ready", "cold")


async def test_the_longest_idle_goes_first(start: Start) -> None:
    runtime = await start(lazy("a", "b", "c"), model_memory_mib=250)
    a, b, c = runtime.models.values()
    for served in (a, b, a, c):
        await say(served)
    assert [served.state for served in (a, b, c)] == ["ready", "cold", "ready"]


async def test_a_model_that_answers_is_never_taken_away(start: Start) -> None:
    runtime = await start(lazy("a", "b"), model_memory_mib=150)
    a, b = runtime.models.values()
    request = GenerationRequest(TextPrompt("!forever !slow=0.01 say:x|"), SamplingParams(temperature=0.0))
    async with aclosing(a.engine.generate(request)) as running:
        await anext(running)
        with pytest.raises(InsufficientMemoryError, match="The model b does not fit: 100 MiB of memory are needed, 50"):
            await say(b)
        assert set((await anext(running)).text) == {"x"}
    assert (a.state, b.state) == ("ready", "failed")


async def test_pinned_models_and_those_of_the_start_stay(start: Start) -> None:
    models = [{"id": "a", "slots": 1}, *lazy("b", pinned=True), *lazy("c")]
    runtime = await start(models, model_memory_mib=250)
    a, b, c = runtime.models.values()
    await runtime.wait_ready()
    await say(b)
    with pytest.raises(InsufficientMemoryError):
        await say(c)
    assert (a.state, b.state) == ("ready", "ready")


async def test_none_is_unloaded_where_that_would_not_do(start: Start) -> None:
    runtime = await start(lazy("a", "b"), model_memory_mib=90)
    a, b = runtime.models.values()
    with pytest.raises(InsufficientMemoryError):
        await say(a)
    runtime._gauge._budget = 150 * MIB  # more was freed  # the test's own budget
    await a.load()
    runtime._gauge._budget = 50 * MIB
    with pytest.raises(InsufficientMemoryError):
        await say(b)
    assert a.state == "ready"


async def test_an_idle_model_is_unloaded_in_time(start: Start) -> None:
    runtime = await start(lazy("a", idle_timeout=0.2))
    served = runtime.models["a"]
    await say(served)
    await until(lambda: served.state == "cold")
    assert await say(served) == "hi"


async def test_a_failed_load_cools_down(start: Start) -> None:
    attempts = 0

    async def find(model: Model, spec: App, progress: Progress) -> Load:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise WeightsError("the file is gone")
        return await find_scripted(model, spec, progress)

    runtime = await start(lazy("a"), find, load_cooldown=0.3)
    served = runtime.models["a"]
    for _ in range(3):
        with pytest.raises(EngineNotReadyError, match="failed to load: the file is gone"):
            await say(served)
    assert (attempts, served.state, runtime_failures) == (1, "failed", [])
    await asyncio.sleep(0.35)
    assert await say(served) == "hi"
    assert (attempts, served.state) == (2, "ready")


async def test_an_admin_need_not_wait_for_the_cooldown(start: Start) -> None:
    runtime = await start(lazy("a"), model_memory_mib=50)
    served = runtime.models["a"]
    with pytest.raises(InsufficientMemoryError):
        await say(served)
    runtime._gauge._budget = None
    await served.load()
    assert await say(served) == "hi"


async def test_who_waits_for_a_download_is_told_how_far_it_is(start: Start) -> None:
    go_on = asyncio.Event()

    async def find(model: Model, spec: App, progress: Progress) -> Load:
        progress(30, 200)
        await go_on.wait()
        return await find_scripted(model, spec, progress)

    runtime = await start(lazy("a"), find)
    served = runtime.models["a"]
    with runtime.desk.listen() as news:
        with pytest.raises(EngineNotReadyError, match=r"is being downloaded \(15%\)"):
            await say(served)
        assert served.news().as_json()["progress"] == {"bytes": 30, "total_bytes": 200, "percent": 15}
        go_on.set()
        await until(lambda: served.state == "ready")
        states = [item.state for item in await news.wait(1)]
    assert [state for i, state in enumerate(states) if state not in states[:i]] == ["loading", "pulling", "ready"]
    assert await say(served) == "hi"


async def test_what_was_unloaded_on_purpose_stays_away(start: Start) -> None:
    runtime = await start([{"id": "a", "slots": 1}])
    served = runtime.models["a"]
    await runtime.wait_ready()
    await served.unload()
    assert served.state == "cold"
    assert runtime.is_ready
    with pytest.raises(EngineNotReadyError, match="was unloaded; an admin can load it again"):
        await say(served)
    await served.load()
    assert await say(served) == "hi"


async def test_a_load_can_be_broken_off(start: Start) -> None:
    async def find(_model: Model, _spec: App, _progress: Progress) -> Load:
        await asyncio.sleep(3600)
        raise AssertionError

    runtime = await start(lazy("a"), find)
    served = runtime.models["a"]
    waiting = asyncio.create_task(say(served))
    await until(lambda: served.state == "loading")
    await served.unload()
    with pytest.raises(EngineNotReadyError, match="was unloaded"):
        await waiting
    assert served.state == "cold"


async def test_an_engine_that_gives_up_on_request_is_tried_again_later(start: Start) -> None:
    runtime = await start(lazy("a"), load_cooldown=0.1, max_restarts=0)
    served = runtime.models["a"]
    with pytest.raises(IxmodalError, match="died"):
        await say(served, "!crash say:x|")
    await until(lambda: served.state == "failed")
    await asyncio.sleep(0.15)
    assert await say(served) == "hi"
    assert runtime_failures == []
