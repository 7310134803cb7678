from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from ixmodal.engine.request import Usage
from ixmodal.errors import DeadlineError, InvalidRequestError, SpecError
from ixmodal.server.turns import ToolCallDelta, ToolChoice, TurnEnd
from tests.server.agents import toolbox
from tests.server.agents.helpers import Turns, agent, ask, calls, results, run, says, text_of


async def result_of(tool: str, arguments: Any = "{}", **fields: Any) -> str:
    """What the model is told after one call."""
    turns = Turns(calls((tool, arguments)), says("Done."))
    events = await run(agent(turns, *([tool] if hasattr(toolbox, tool) else []), **fields))
    assert text_of(events) == "Done."
    (found,) = results(turns)
    return found


async def test_parallel_calls_run_at_once_and_answer_in_order() -> None:
    made = [("slow_echo", {"text": str(i), "seconds": 0.3 - 0.1 * i}) for i in range(3)]
    turns = Turns(calls(*made), says("Done."))
    began = time.monotonic()
    await run(agent(turns, "slow_echo"))
    assert time.monotonic() - began < 0.55
    assert toolbox.seen == ["begin 0", "begin 1", "begin 2", "end 2", "end 1", "end 0"]
    assert results(turns) == ["0", "1", "2"]
    assert [m["tool_call_id"] for m in turns.requests[1].messages if m["role"] == "tool"] == [
        "call_0",
        "call_1",
        "call_2",
    ]


async def test_more_calls_than_allowed_are_not_run() -> None:
    made = [("slow_echo", {"text": str(i), "seconds": 0}) for i in range(4)]
    turns = Turns(calls(*made), says("Done."))
    await run(agent(turns, "slow_echo", max_calls=2))
    assert results(turns) == ["0", "1", *["Error: this call was not run; make at most 2 at a time"] * 2]
    assert len(toolbox.seen) == 4


@pytest.mark.parametrize(("most", "run_calls"), [(1, ["ok", "no"]), (2, ["ok", "ok"]), (3, ["ok", "ok", "ok", "no"])])
async def test_tool_calls_of_a_request_are_bounded(most: int, run_calls: list[str]) -> None:
    two = calls(("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"}))
    turns = Turns(two, two, says("Done."))
    events = await run(agent(turns, "weather"), ask(max_tool_calls=most))
    if most == 3:
        assert text_of(events) == "Done."
    steps = len(run_calls) // 2
    assert ["no" if "allows no more" in told else "ok" for told in results(turns, steps)] == run_calls
    assert turns.requests[steps].tool_choice.mode == "none"
    assert len(turns.requests) == steps + 1


async def test_the_model_is_told_what_went_wrong() -> None:
    assert await result_of("fail", {"message": "no"}) == "Error: fail failed: ValueError: no"
    assert await result_of("hang", tool_timeout=0.05) == "Error: hang did not end within 0.05 seconds"
    assert len(await result_of("megabytes", {"count": 4}, max_result_bytes=500)) <= 500
    assert "city: it is required" in await result_of("weather", {"town": "Rom"})
    assert "they are not valid JSON" in await result_of("weather", '{"city": ')
    assert await result_of("nonesuch") == "Error: there is no tool nonesuch; the tools are: none"
    assert await result_of("add", {"a": 1, "b": 2}) == "3"


async def test_hanging_tools_of_many_requests_are_bounded() -> None:
    turns = Turns(*[calls(("hang", {}))] * 6, says("Done."))
    helper = agent(turns, "hang", tool_timeout=0.2, max_running_tools=2)
    answers = await asyncio.gather(*(run(helper) for _ in range(6)))
    assert [text_of(events) for events in answers] == ["Done."] * 6
    assert toolbox.seen == ["hang"] * 2


async def test_a_call_of_a_clients_tool_ends_the_turn_and_is_shown() -> None:
    made = [("nothing", {}), ("theirs", {"x": 1}), ("other", {})]
    turns = Turns(calls(("nothing", {})), calls(*made, text="Please run:"))
    events = await run(agent(turns, "nothing"), ask(tools=["theirs", "other"]))
    shown = [event for event in events if isinstance(event, ToolCallDelta)]
    assert [(event.index, event.id, event.name) for event in shown if event.id] == [
        (0, "call_1", "theirs"),
        (1, "call_2", "other"),
    ]
    assert "".join(event.arguments for event in shown if event.index == 0) == '{"x": 1}'
    assert events[-1] == TurnEnd("tool_calls", Usage(20, 6, 10))
    assert [tool["function"]["name"] for tool in turns.requests[0].tools] == ["nothing", "theirs", "other"]


async def test_a_clients_tool_may_not_have_the_name_of_the_agents() -> None:
    turns = Turns(says("Never."))
    with pytest.raises(InvalidRequestError, match="The agent helper has a tool 'weather' of its own") as caught:
        await run(agent(turns, "weather"), ask(tools=["weather"]))
    assert caught.value.param == "tools"
    assert not turns.requests


async def test_tool_choice_none_leaves_the_clients_tools_out() -> None:
    turns = Turns(calls(("theirs", {})), says("No."))
    events = await run(agent(turns, "nothing"), ask(tools=["theirs"], tool_choice=ToolChoice("none")))
    assert [tool["function"]["name"] for tool in turns.requests[0].tools] == ["nothing"]
    assert results(turns) == ["Error: there is no tool theirs; the tools are: nothing"]
    assert not any(isinstance(event, ToolCallDelta) for event in events)


async def test_a_required_call_is_the_clients_in_the_end() -> None:
    turns = Turns(calls(("nothing", {})), calls(("nothing", {})), calls(("theirs", {})))
    choice = ToolChoice("required")
    events = await run(agent(turns, "nothing", max_steps=2), ask(tools=["theirs"], tool_choice=choice))
    assert [request.tool_choice for request in turns.requests] == [
        choice,
        choice,
        ToolChoice("required", allowed=("theirs",)),
    ]
    assert isinstance(events[-1], TurnEnd)
    assert events[-1].reason == "tool_calls"


async def test_a_named_function_is_forced_once_and_allowed_ones_stand_beside_the_agents() -> None:
    turns = Turns(calls(("theirs", {})))
    await run(agent(turns, "nothing"), ask(tools=["theirs"], tool_choice=ToolChoice("named", "theirs")))
    assert turns.requests[0].tool_choice == ToolChoice("named", "theirs")
    turns = Turns(says("No."))
    allowed = ToolChoice("auto", allowed=("theirs",))
    await run(agent(turns, "nothing"), ask(tools=["theirs", "other"], tool_choice=allowed))
    assert turns.requests[0].tool_choice == ToolChoice("auto", allowed=("theirs", "nothing"))


async def test_the_time_of_a_request_bounds_all_steps() -> None:
    turns = Turns(calls(("slow_echo", {"text": "a", "seconds": 30})))
    with pytest.raises(DeadlineError):
        await run(agent(turns, "slow_echo", timeout=0.1))
    assert toolbox.seen == ["begin a", "cancelled a"]


async def test_cancelling_cancels_running_tools() -> None:
    turns = Turns(calls(("slow_echo", {"text": "a", "seconds": 30}), ("hang", {})))
    helper = agent(turns, "slow_echo", "hang")
    running = asyncio.create_task(run(helper))
    await toolbox.wait_for("begin a")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [what for what in toolbox.seen if what != "hang"] == ["begin a", "cancelled a"]
    assert turns.closed == 1


def test_tools_that_can_not_be_loaded_are_told_at_once() -> None:
    with pytest.raises(SpecError, match="the agent helper is not a valid spec"):
        agent(Turns(), "bare")
