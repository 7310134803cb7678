from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from ixmodal.engine.request import Constraint, SamplingParams, TokenLogprob, Usage
from ixmodal.errors import BusyError, ContextLengthError, DeadlineError, EngineDeadError
from ixmodal.server.agents.agent import Agent
from ixmodal.server.turns import ReasoningDelta, TextDelta, ToolCallDelta, TurnEnd, TurnEvent, TurnRequest, TurnStarted
from ixmodal.spec.agents import AgentSpec
from tests.server.agents import toolbox
from tests.server.agents.helpers import Script, Turns, agent, ask, calls, run, says, text_of


async def test_without_calls_it_answers_like_the_model() -> None:
    turns = Turns(says("Hello there"))
    events = await run(agent(turns))
    assert events == [*says("Hello there")[:-1], TurnEnd("stop", Usage(10, 3, 5))]
    assert turns.requests[0].tools == []
    assert turns.requests[0].tool_choice.mode == "none"


async def test_it_runs_its_tools_and_goes_on() -> None:
    turns = Turns(calls(("weather", {"city": "Rom"}), text="Let me see."), says("It is 20 C."))
    events = await run(agent(turns, "weather"))
    assert isinstance(events[0], TurnStarted)
    assert events[-1] == TurnEnd("stop", Usage(20, 6, 10))
    assert [type(event) for event in events].count(TurnStarted) == 1
    assert [type(event) for event in events].count(TurnEnd) == 1
    assert not any(isinstance(event, ToolCallDelta) for event in events)
    assert text_of(events) == "Let me see.\n\nIt is 20 C."
    assert turns.requests[1].messages == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rom"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "name": "weather", "content": "Rom: 20 C for 1 days"},
    ]
    assert [tool["function"]["name"] for tool in turns.requests[0].tools] == ["weather"]
    assert [request.tool_choice.mode for request in turns.requests] == ["auto", "auto"]
    assert turns.closed == 2


async def test_text_is_passed_on_as_it_comes() -> None:
    turns = Turns([*calls(("hang", {}), text="Wait. ")], says("Done."))
    async with aclosing(agent(turns, "hang").run(ask())) as events:
        await anext(events)
        assert await anext(events) == TextDelta("Wait. ")
        toolbox.release.set()
        assert [event.text async for event in events if isinstance(event, TextDelta)] == ["Done", "."]


async def test_reasoning_is_passed_on_and_kept_for_the_next_step() -> None:
    first: Script = [ReasoningDelta("I ask."), *calls(("nothing", {}))]
    second: Script = [ReasoningDelta("I know."), *says("Yes.")]
    turns = Turns(first, second)
    events = await run(agent(turns, "nothing"))
    assert [event.text for event in events if isinstance(event, ReasoningDelta)] == ["I ask.", "\n\nI know."]
    assert turns.requests[1].messages[-2]["reasoning_content"] == "I ask."


async def test_texts_with_space_between_them_are_left_alone() -> None:
    logprob = TokenLogprob(1, b"a", -1.0)
    end: Script = [TextDelta("", (logprob,)), TextDelta("\nIt is."), TurnEnd("stop", Usage())]
    events = await run(agent(Turns(calls(("nothing", {}), text="Look:"), end), "nothing"))
    assert text_of(events) == "Look:\nIt is."
    assert TextDelta("", (logprob,)) in events


async def test_instructions_come_before_the_callers_system_messages() -> None:
    turns = Turns(says("Yes."))
    history = [("system", "Be kind."), ("system", "Be brief."), ("user", "Hi"), ("system", "Now.")]
    await run(agent(turns, instructions="You are a guide."), ask(*history))
    assert turns.requests[0].messages == [
        {"role": "system", "content": "You are a guide.\n\nBe kind.\n\nBe brief."},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Now."},
    ]


async def test_without_instructions_the_callers_messages_stay_as_they_are() -> None:
    turns = Turns(says("Yes."))
    history = [("system", "A"), ("system", "B"), ("user", "1"), ("assistant", "2"), ("user", "3")]
    request = ask(*history)
    await run(agent(turns), request)
    assert turns.requests[0].messages == request.messages


async def test_the_callers_messages_and_tools_are_not_changed() -> None:
    request = ask(tools=["theirs"])
    await run(agent(Turns(calls(("nothing", {})), says("Yes.")), "nothing", instructions="Do."), request)
    assert request == ask(tools=["theirs"])


async def test_sampling_and_stop_are_honoured_at_every_step() -> None:
    sampling = SamplingParams(temperature=0.5, seed=7, stop=("END",), max_tokens=10, min_tokens=4)
    turns = Turns(calls(("nothing", {}), tokens=3), says("Cut at ", tokens=2))
    events = await run(agent(turns, "nothing"), ask(sampling=sampling, parallel_tool_calls=False))
    first, second = (request.sampling for request in turns.requests)
    assert first == sampling
    assert (second.temperature, second.seed, second.stop) == (0.5, 7, ("END",))
    assert (second.max_tokens, second.min_tokens) == (7, 1)
    assert not turns.requests[1].parallel_tool_calls
    assert events[-1] == TurnEnd("stop", Usage(20, 5, 10))


async def test_the_token_limit_is_one_of_all_steps() -> None:
    turns = Turns(calls(("add", {"a": 1, "b": 1}), tokens=5))
    events = await run(agent(turns, "add"), ask(sampling=SamplingParams(max_tokens=10)))
    assert [request.sampling.max_tokens for request in turns.requests] == [10, 5]
    assert events[-1] == TurnEnd("length", Usage(20, 10, 10))


async def test_a_step_that_was_cut_ends_the_turn() -> None:
    cut_off = [*calls(("nothing", '{"x'))[:-1], TurnEnd("length", Usage(10, 9, 0))]
    turns = Turns(cut_off)
    events = await run(agent(turns, "nothing"))
    assert events[-1] == TurnEnd("length", Usage(10, 9, 0))
    assert len(turns.requests) == 1


async def test_at_the_step_limit_it_must_answer_in_words() -> None:
    turns = Turns(calls(("nothing", {})), calls(("nothing", {})), says("That is all."))
    events = await run(agent(turns, "nothing", max_steps=2))
    assert [request.tool_choice.mode for request in turns.requests] == ["auto", "auto", "none"]
    assert text_of(events) == "That is all."
    assert events[-1] == TurnEnd("stop", Usage(30, 9, 15))


async def test_a_model_that_calls_even_then_is_stopped() -> None:
    turns = Turns(calls(("nothing", {})))
    events = await run(agent(turns, "nothing", max_steps=3))
    assert len(turns.requests) == 4
    assert events[-1] == TurnEnd("stop", Usage(40, 12, 20))


@pytest.mark.parametrize("error", [BusyError("full", retry_after=1), ContextLengthError("long", param="messages")])
async def test_a_refusal_is_raised_before_anything_is_sent(error: Exception) -> None:
    events = agent(Turns([error]), "nothing").run(ask())
    with pytest.raises(type(error)):
        await anext(events)


async def test_results_that_outgrow_the_context_end_the_turn_for_length() -> None:
    turns = Turns(calls(("nothing", {}), text="Well."), [ContextLengthError("too long")])
    events = await run(agent(turns, "nothing"))
    assert text_of(events) == "Well."
    assert events[-1] == TurnEnd("length", Usage(10, 3, 5))


async def test_a_later_failure_of_the_engine_is_passed_on() -> None:
    turns = Turns(calls(("nothing", {})), [EngineDeadError("died")])
    with pytest.raises(EngineDeadError):
        await run(agent(turns, "nothing"))


async def test_a_turn_that_hangs_meets_the_time_limit_too() -> None:
    async def turn(_request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        yield TurnStarted(Usage())
        await asyncio.sleep(30)

    helper = Agent(AgentSpec("helper", model="demo"), (), turn, timeout=0.1)
    with pytest.raises(DeadlineError):
        await run(helper)


async def test_closing_frees_the_models_slot() -> None:
    turns = Turns(says("a long answer"))
    events = agent(turns).run(ask())
    await anext(events)
    await anext(events)
    await events.aclose()
    assert turns.closed == 1


JSON = Constraint("json_object")


async def test_an_answer_of_a_given_form_comes_after_the_calls() -> None:
    turns = Turns(calls(("nothing", {}), text="Let me see."), says("It is 3."), says('{"x": 3}'))
    events = await run(agent(turns, "nothing"), ask(sampling=SamplingParams(constraint=JSON)))
    assert text_of(events) == '{"x": 3}'
    assert [request.sampling.constraint for request in turns.requests] == [None, None, JSON]
    assert [request.tool_choice.mode for request in turns.requests] == ["auto", "auto", "none"]
    assert turns.requests[2].messages == turns.requests[1].messages
    assert events[-1] == TurnEnd("stop", Usage(30, 9, 15))


async def test_an_answer_of_a_given_form_comes_at_the_step_limit_too() -> None:
    turns = Turns(calls(("nothing", {})), says("{}"))
    events = await run(agent(turns, "nothing", max_steps=1), ask(sampling=SamplingParams(constraint=JSON)))
    assert text_of(events) == "{}"
    assert [request.sampling.constraint for request in turns.requests] == [None, JSON]


async def test_without_own_tools_an_answer_of_a_given_form_is_the_first() -> None:
    turns = Turns(says("{}"))
    events = await run(agent(turns), ask(sampling=SamplingParams(constraint=JSON)))
    assert text_of(events) == "{}"
    assert [request.sampling.constraint for request in turns.requests] == [JSON]


async def test_dropped_messages_are_not_summed() -> None:
    turns = Turns(calls(("nothing", {})), [TurnEnd("stop", Usage(1, 2, 3, dropped_messages=4))])
    assert (await run(agent(turns, "nothing")))[-1] == TurnEnd("stop", Usage(11, 5, 8, dropped_messages=4))


async def test_a_later_step_waits_for_a_place() -> None:
    turns = Turns(calls(("nothing", {})), [BusyError("full", retry_after=0)], says("Done."))
    events = await run(agent(turns, "nothing"))
    assert text_of(events) == "Done."
    assert turns.requests[1] == turns.requests[2]
