from __future__ import annotations

import asyncio

import pytest

from ixmodal.engine.messages import Delta, Failed, Finished, Refused, Started
from ixmodal.engine.request import FinishReason, Output, Usage
from ixmodal.engine.stream import Stream
from ixmodal.errors import ContextLengthError, EngineDeadError, EngineError, InvalidRequestError


async def test_an_answer_step_by_step() -> None:
    stream = Stream()
    stream.put(Started(1, 5, 2))
    assert await stream.next() == Output("", Usage(5, 0, 2))
    stream.put(Delta(1, "a", 1))
    assert await stream.next() == Output("a", Usage(5, 1, 2))
    assert not stream.ended
    stream.put(Finished(1, "b", 2, FinishReason.STOP))
    assert stream.ended
    assert await stream.next() == Output("b", Usage(5, 2, 2), FinishReason.STOP)


async def test_what_arrives_while_the_reader_lags_is_merged() -> None:
    stream = Stream()
    stream.put(Started(1, 5, 0))
    for number, letter in enumerate("你好吗", 1):
        stream.put(Delta(1, letter, number))
    stream.put(Finished(1, "!", 4, FinishReason.LENGTH))
    assert await stream.next() == Output("", Usage(5, 0, 0))  # the first is about the prompt alone
    assert await stream.next() == Output("你好吗!", Usage(5, 4, 0), FinishReason.LENGTH)


async def test_a_reader_waits_for_news() -> None:
    stream = Stream()
    reader = asyncio.create_task(stream.next())
    await asyncio.sleep(0)
    assert not reader.done()
    stream.put(Delta(1, "x", 1))
    assert (await reader).text == "x"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (Refused(1, "too long", "context_length_exceeded", "messages"), ContextLengthError),
        (Refused(1, "bad", None, "prompt"), InvalidRequestError),
        (Refused(1, "odd", "unheard_of", None), InvalidRequestError),
    ],
)
async def test_refusals_keep_their_kind(message: Refused, kind: type[InvalidRequestError]) -> None:
    stream = Stream()
    stream.put(message)
    with pytest.raises(kind) as caught:
        await stream.next()
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.code, caught.value.param) == (
        message.message,
        message.code,
        message.param,
    )


async def test_an_error_comes_after_the_text_before_it() -> None:
    stream = Stream()
    stream.put(Delta(1, "so far", 1))
    stream.put(Failed(1, "broken"))
    assert (await stream.next()).text == "so far"
    with pytest.raises(EngineError, match="broken"):
        await stream.next()
    with pytest.raises(EngineError, match="broken"):
        await asyncio.wait_for(_again(stream), 1)


async def _again(stream: Stream) -> Output:
    stream.fail(EngineDeadError("later"))
    return await stream.next()


async def test_an_answer_that_ended_can_not_fail() -> None:
    stream = Stream()
    stream.put(Finished(1, "all", 1, FinishReason.STOP))
    stream.fail(EngineDeadError("died"))
    assert (await stream.next()).finish_reason is FinishReason.STOP
