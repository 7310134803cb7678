"""Whatever a turn says, its events tell a whole story."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ixmodal.engine.request import Usage
from ixmodal.server.protocol.responses.answers import new_response
from ixmodal.server.protocol.responses.request import ResponsesRequest
from ixmodal.server.responses.assembler import Assembler
from ixmodal.server.responses.record import data_of
from ixmodal.server.turns import ReasoningDelta, TextDelta, ToolCallDelta, TurnEnd, TurnEvent

TEXTS = ("", "a", "é\n\ndata: x\n", "event: y", "你好", '"')


def some_turn(random: random.Random) -> list[TurnEvent]:
    events: list[TurnEvent] = []
    calls = 0
    for _ in range(random.randrange(12)):
        kind, text = random.randrange(4), random.choice(TEXTS)
        if kind == 0:
            events.append(ReasoningDelta(text))
        elif kind == 1:
            events.append(TextDelta(text))
        else:
            events.append(ToolCallDelta(calls, id=f"call_{calls}", name="f"))
            events += [ToolCallDelta(calls, arguments=random.choice(TEXTS)) for _ in range(random.randrange(3))]
            calls += 1
    return events


def end(assembler: Assembler, how: str) -> None:
    if how == "fail":
        assembler.fail(RuntimeError())
    elif how == "cancel":
        assembler.cancel()
    else:
        assembler.add(TurnEnd("length" if how == "length" else "stop", Usage()))


def check_items(events: list[dict[str, Any]], output: list[dict[str, Any]]) -> None:
    """Each item is added, grows and is done once, one after the other, and is what its events say."""
    for index, item in enumerate(output):
        own = [event for event in events if event.get("output_index") == index]
        names = [event["type"] for event in own]
        assert names[0] == "response.output_item.added"
        assert names[-1] == "response.output_item.done"
        assert own[0]["item"]["id"] == item["id"]
        assert own[0]["item"]["status"] == "in_progress"
        assert own[-1]["item"] == item
        assert {event["item_id"] for event in own[1:-1]} == {item["id"]}
        text = item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"]
        assert "".join(event["delta"] for event in own if event["type"].endswith(".delta")) == text
    indices = [event["output_index"] for event in events if "output_index" in event]
    assert indices == sorted(indices)
    assert sorted(set(indices)) == list(range(len(output)))


@pytest.mark.parametrize("how", ["stop", "length", "fail", "cancel"])
@pytest.mark.parametrize("background", [False, True])
def test_every_stream_is_whole(how: str, background: bool) -> None:
    body = ResponsesRequest.model_validate({"model": "demo", "input": "a", "background": background})
    statuses = {"stop": "completed", "length": "incomplete", "fail": "failed", "cancel": "cancelled"}
    for seed in range(200):
        assembler = Assembler(new_response(body))
        assembler.open()
        assembler.begin()
        for event in some_turn(random.Random(seed)):
            assembler.add(event)
        end(assembler, how)
        assert all(frame.count(b"\n\n") == 1 and frame.endswith(b"\n\n") for frame in assembler.frames)
        events = [data_of(frame) for frame in assembler.frames]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        head = ["response.created", "response.queued", "response.in_progress"] if background else None
        assert [event["type"] for event in events][: 3 if background else 2] == (
            head or ["response.created", "response.in_progress"]
        )
        last = events[-1]["response"]
        assert last["status"] == statuses[how]
        assert events[-1]["type"] == f"response.{'incomplete' if how == 'cancel' else statuses[how]}"
        assert last["output"] == assembler.response["output"]
        check_items(events, last["output"])
        if how in ("stop", "length"):
            assert last["output"]
            assert last["output"][-1]["status"] == ("completed" if how == "stop" else "incomplete")


def test_arguments_for_a_call_that_is_not_open_are_an_error() -> None:
    assembler = Assembler(new_response(ResponsesRequest.model_validate({"model": "demo", "input": "a"})))
    assembler.add(ToolCallDelta(0, id="c", name="f"))
    assembler.add(TextDelta("a"))
    with pytest.raises(RuntimeError, match="not open"):
        assembler.add(ToolCallDelta(0, arguments="{}"))
