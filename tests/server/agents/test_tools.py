from __future__ import annotations

import asyncio
import json
import logging
import threading
import time

import pytest

from ixmodal.errors import SpecError
from ixmodal.server.agents.tools import Tool, ToolLimits, cut, load_tools
from ixmodal.server.agents.workers import Workers
from tests.server.agents import toolbox


async def call(
    name: str, arguments: str = "{}", *, timeout: float = 5, size: int = 1000, workers: Workers | None = None
) -> str:
    tool = Tool.load(f"tests.server.agents.toolbox:{name}")
    return await tool.call(arguments, workers or Workers(4), ToolLimits(timeout, size))


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("weather", '{"city": "Rom", "days": 2}', "Rom: 20 C for 2 days"),
        ("add", '{"a": 1, "b": 2}', "3"),
        ("wrapped", '{"a": 1}', "2"),
        ("Kit.twice", '{"x": 4}', "8"),
        ("structured", "{}", '{"place":{"city":"Rom","altitude":0},"nan":"NaN","none":null,"set":[1]}'),
        ("nothing", "{}", "null"),
        ("surrogate", "{}", "a?b"),
    ],
)
async def test_results_become_text(name: str, arguments: str, result: str) -> None:
    assert await call(name, arguments) == result


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("fail", '{"message": "no such city"}', "Error: fail failed: ValueError: no such city"),
        ("fail_async", "{}", "Error: fail_async failed: TimeoutError: the other side was slow"),
        ("cancel_itself", "{}", "Error: cancel_itself failed: RuntimeError: it was cancelled"),
        ("leave", "{}", "Error: leave failed: RuntimeError: SystemExit 3"),
        ("leave_async", "{}", "Error: leave_async failed: RuntimeError: SystemExit 3"),
        ("unspeakable", "{}", "Error: unspeakable failed: UnspeakableError"),
        ("stop_iteration", "{}", "Error: stop_iteration failed: RuntimeError"),
        ("not_json", "{}", "Error: not_json failed: TypeError: it returned a dict, which can't be written as JSON"),
        ("circular", "{}", "Error: circular failed: TypeError: it returned a list, which can't be written as JSON"),
        ("endless_iterator", "{}", "Error: endless_iterator failed: TypeError: it returned a count, which can't"),
        ("weather", '{"days": 1}', "Error: the arguments of weather are wrong: city: it is required"),
    ],
)
async def test_failures_become_words_without_a_traceback(name: str, arguments: str, result: str) -> None:
    found = await call(name, arguments)
    assert found.startswith(result)
    assert "Traceback" not in found
    assert "toolbox.py" not in found


async def test_the_log_has_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await call("fail", '{"message": "why"}')
    assert "in fail" in caplog.text


async def test_long_results_are_cut_with_a_note() -> None:
    found = await call("megabytes", '{"count": 3}', size=300)
    assert len(found.encode()) <= 300
    assert found.startswith("é" * 100)
    assert found.endswith(f"of {3 * 1024 * 1024} bytes]")


async def test_long_json_and_long_messages_are_cut_too() -> None:
    found = await call("big_list", '{"count": 100000}', size=300)
    assert found.startswith("[0,1,2,")
    assert len(found) <= 300
    assert len(await call("fail", json.dumps({"message": "x" * 5000}), size=300)) <= 300
    assert len(await call("weather", json.dumps({"x" * 5000: 1}), size=300)) <= 300


def test_a_cut_keeps_characters_whole_and_exact_fits_alone() -> None:
    assert cut("é".encode() * 5, 10) == "ééééé"
    text = cut("€".encode() * 1000, 300)
    assert "\ufffd" not in text
    shown = text.partition("\n")[0]
    assert f"the first {len(shown.encode())} of 3000 bytes" in text


async def test_a_thread_that_hangs_is_given_up_and_keeps_its_place() -> None:
    workers = Workers(1)
    assert await call("hang", timeout=0.1, workers=workers) == (
        "Error: hang did not end within 0.1 seconds; the server is busy with other calls"
    )
    assert workers.full
    before = threading.active_count()
    assert "did not end within 0.1 seconds" in await call("nothing", timeout=0.1, workers=workers)
    assert threading.active_count() == before  # nothing was started
    toolbox.release.set()
    assert await call("nothing", workers=workers) == "null"


async def test_places_come_back_whatever_a_tool_does() -> None:
    workers = Workers(1)
    for name in ("fail_async", "cancel_itself", "leave", "leave_async", "unspeakable", "nothing", "wrapped"):
        await call(name, '{"a": 1}' if name == "wrapped" else "{}", workers=workers)
        assert not workers.full


async def test_an_async_tool_that_hangs_is_cancelled() -> None:
    found = await call("slow_echo", '{"text": "a", "seconds": 30}', timeout=0.05)
    assert found == "Error: slow_echo did not end within 0.05 seconds"
    assert toolbox.seen == ["begin a", "cancelled a"]


async def test_an_async_tool_that_ignores_its_cancellation_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ixmodal.server.agents.workers._GRACE", 0.05)
    workers = Workers(1)
    began = time.monotonic()
    assert "did not end" in await call("stubborn", '{"seconds": 0.6}', timeout=0.05, workers=workers)
    assert time.monotonic() - began < 0.5
    assert workers.full
    await asyncio.sleep(0.7)
    assert not workers.full


async def test_the_event_loop_goes_on_while_a_sync_tool_runs() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    assert await call("nap", '{"seconds": 0.3}') == "rested"
    ticking.cancel()
    assert ticks > 5


async def test_a_thread_may_outlive_its_loop() -> None:
    def run() -> None:
        asyncio.run(call("hang", timeout=0.05))

    await asyncio.to_thread(run)
    toolbox.release.set()  # the thread ends, its loop is closed: nothing is raised


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("star_args", "it takes *values: 'int'; declare each argument by its name"),
        ("star_kwargs", "it takes **values: 'int'; declare each argument by its name"),
        ("bare", "its argument `x` has no type hint; write `x: str`, say"),
        ("positional", "its argument `x` has no name to models; take out the `/` after it"),
        ("field_default", "its argument `x` has a Field as default; write Annotated"),
        ("no_schema", "a type hint has no JSON schema: Unable to generate pydantic-core schema for"),
        ("unresolved", "its type hints can't be read: name 'Decimal' is not defined"),
        ("generator", "it yields; a tool returns its result"),
        ("async_generator", "it yields; a tool returns its result"),
        ("Kit", "it is a type, not a function"),
        ("NUMBER", "it is a int, not a function"),
        ("näme", "models know names of up to 64 ASCII letters"),
        (
            "missing",
            "can't be imported: module 'tests.server.agents.toolbox' has no attribute 'missing'; write module:",
        ),
    ],
)
def test_what_can_not_be_a_tool_is_refused_when_loaded(name: str, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_tools([f"tests.server.agents.toolbox:{name}"], "helper")
    assert caught.value.message.startswith("the agent helper is not a valid spec:\n")
    assert f"tools.0: tests.server.agents.toolbox:{name}: {problem}" in caught.value.message


def test_import_errors_are_told_in_a_line_each() -> None:
    paths = ["no_such_module:f", "tests.server.agents.broken_toolbox:f", "tests.server.agents.toolbox:weather"]
    with pytest.raises(SpecError) as caught:
        load_tools([*paths, "tests.server.agents.other_toolbox:weather"], "helper")
    first, second, third = caught.value.problems
    assert "no_such_module:f: can't be imported: No module named 'no_such_module'" in first
    assert "RuntimeError: no such device" in second
    assert third == (
        "tools.3: tests.server.agents.other_toolbox:weather: another tool has the name weather; "
        "rename one of the functions"
    )
