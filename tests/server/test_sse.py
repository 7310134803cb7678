from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from ixmodal import Limits
from ixmodal.errors import BusyError
from ixmodal.server import sse
from ixmodal.server.sse import DONE, WAITING, EventStream, EventTemplate, event, stream

Events = AsyncGenerator[bytes, None]


class Client:
    """An ASGI `send` that writes only when it is let."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.may_write = asyncio.Event()
        self.may_write.set()

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        await self.may_write.wait()

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.messages[1:]]


async def receive() -> Any:
    raise AssertionError("nobody asks")


async def counted(queue: asyncio.Queue[int | None]) -> Events:
    while (number := await queue.get()) is not None:
        yield b"data: %d\n\n" % number


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_is_ready_goes_out_in_one_write() -> None:
    queue: asyncio.Queue[int | None] = asyncio.Queue()
    client = Client()
    serving = asyncio.create_task(EventStream(counted(queue), 5)({}, receive, client.send))
    queue.put_nowait(1)
    await settle()
    assert client.bodies == [b"data: 1\n\n"]  # at once, whatever may follow
    client.may_write.clear()
    queue.put_nowait(2)
    await settle()  # a write is under way
    for number in (3, 4, None):
        queue.put_nowait(number)
    await settle()
    client.may_write.set()
    await serving
    assert client.bodies == [b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\ndata: 4\n\n" + DONE]
    assert [message["more_body"] for message in client.messages[1:]] == [True, True, False]


@pytest.mark.parametrize("text", ["", " a", 'a "quoted"\n\ttext\\', "你好 🙂\u2028", "\0", "{%b}"])
def test_a_template_is_the_event_with_that_text(text: str) -> None:
    template = EventTemplate({"model": "m", "usage": None, "choices": [{"delta": {"content": EventTemplate.HOLE}}]})
    assert template.fill(text) == event({"model": "m", "usage": None, "choices": [{"delta": {"content": text}}]})


async def test_a_write_that_takes_too_long_is_given_up() -> None:
    queue: asyncio.Queue[int | None] = asyncio.Queue()
    client = Client()
    serving = asyncio.create_task(EventStream(counted(queue), 0.05)({}, receive, client.send))
    for number in range(4):  # a stream that is slow, but read, may take longer than a write
        queue.put_nowait(number)
        await asyncio.sleep(0.03)
    client.may_write.clear()
    queue.put_nowait(4)
    with pytest.raises(TimeoutError):
        await serving
    assert client.bodies[-1] == b"data: 4\n\n"


async def test_a_client_that_lags_holds_the_generator_up() -> None:
    made = 0

    async def endless() -> Events:
        nonlocal made
        while True:
            made += 1
            yield bytes(1000)

    client = Client()
    client.may_write.clear()
    serving = asyncio.create_task(EventStream(endless(), 5)({}, receive, client.send))
    await settle()
    client.may_write.set()
    await asyncio.sleep(0)
    client.may_write.clear()
    await settle()
    assert 0 < made < 60
    assert all(len(body) < 20_000 for body in client.bodies)
    serving.cancel()
    await asyncio.wait([serving])


async def test_the_generator_is_closed_when_the_client_goes() -> None:
    closed = asyncio.Event()

    async def waiting() -> Events:
        try:
            yield b"data: 1\n\n"
            await asyncio.Event().wait()
        finally:
            closed.set()

    client = Client()
    serving = asyncio.create_task(EventStream(waiting(), 5)({}, receive, client.send))
    await settle()
    serving.cancel()
    await asyncio.wait([serving])
    assert closed.is_set()


async def test_a_failure_becomes_the_last_event() -> None:
    async def failing() -> Events:
        yield b"data: 1\n\n"
        raise BusyError("too much", retry_after=3)

    client = Client()
    await EventStream(failing(), 5)({}, receive, client.send)
    written = b"".join(client.bodies)
    assert written.startswith(b"data: 1\n\n")
    assert b'"message":"too much"' in written
    assert written.endswith(DONE)


async def test_a_silent_stream_sends_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_WAITING_EVERY", 0.01)
    queue: asyncio.Queue[int | None] = asyncio.Queue()
    client = Client()
    serving = asyncio.create_task(EventStream(counted(queue), 5)({}, receive, client.send))
    await asyncio.sleep(0.1)
    queue.put_nowait(None)
    await serving
    assert client.bodies[:2] == [WAITING, WAITING]
    assert b"".join(client.bodies).endswith(DONE)


async def follow(number: int) -> Events:
    yield b"data: %d\n\n" % number


async def test_a_refusal_in_time_keeps_its_status() -> None:
    async def refuse() -> int:
        raise BusyError("too much", retry_after=3)

    with pytest.raises(BusyError):
        await stream(refuse(), follow, Limits())


@pytest.mark.parametrize("refused", [False, True])
async def test_a_long_wait_goes_on_behind_the_status(refused: bool) -> None:
    turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait() -> int:
        return await turn

    response = await stream(wait(), follow, Limits(head_timeout=0.01))
    client = Client()
    serving = asyncio.create_task(response({}, receive, client.send))
    await settle()
    assert client.messages[0]["status"] == 200
    assert client.bodies == [WAITING]
    if refused:
        turn.set_exception(BusyError("too much", retry_after=3))
    else:
        turn.set_result(7)
    await serving
    written = b"".join(client.bodies[1:])
    assert (b"too much" if refused else b"data: 7\n\n") in written
    assert written.endswith(DONE)


async def test_a_client_that_goes_while_it_waits_ends_the_wait() -> None:
    ended = asyncio.Event()

    async def wait() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 1

    asking = asyncio.create_task(stream(wait(), follow, Limits()))
    await settle()
    asking.cancel()
    await asyncio.wait([asking])
    assert ended.is_set()
