"""A turn that an upstream takes: responses and agents ask it as they ask a model here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from ixmodal.engine.request import Usage
from ixmodal.errors import BusyError, EngineNotReadyError, UpstreamError
from ixmodal.server.errors import HTTPError
from ixmodal.server.passage import MAX_HOPS, passage
from ixmodal.server.turns import TurnEvent, TurnRequest, TurnStarted, ended
from ixmodal.server.upstream.chat_body import chat_body
from ixmodal.server.upstream.chat_stream import ChatStreamReader
from ixmodal.server.upstream.refusals import refusal, refused_twice
from ixmodal.server.upstream.relay import data_of, events
from ixmodal.server.upstream.usage import charge
from ixmodal.upstreams.question import Question

if TYPE_CHECKING:
    from ixmodal.upstreams.client import UpstreamClient

_CHAT = "/v1/chat/completions"
Turn = Callable[[TurnRequest], AsyncGenerator[TurnEvent, None]]


async def ask_upstream(client: UpstreamClient, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
    """Have an upstream answer a conversation by its chat completions. Events as those of `run_turn`.

    Raises:
        BusyError: the upstream has no room, or too many requests are on their way to it.
        ContextLengthError: the conversation is too long for it.
        HTTPError: what else it refuses, with its status.
        UpstreamError: it can't be reached, or broke off.
    """
    reader = ChatStreamReader(client.name)
    begun = False
    try:
        async with aclosing(_chunks(client, request)) as chunks:
            async for chunk in chunks:
                for event in reader.read(chunk):
                    if not begun:
                        begun = True
                        yield TurnStarted(Usage())
                    yield event
        if not begun:
            yield TurnStarted(Usage())
        end = reader.end()
        yield ended(end.reason, end.usage)
    finally:
        charge(client, request.messages, reader.usage)


async def overflowing(first: Turn, second: Turn, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
    """The turn of `first`, or of `second` where that is busy or not ready. Nothing is asked twice once it has begun."""
    begun = False
    try:
        async with aclosing(first(request)) as taken:
            async for event in taken:
                begun = True
                yield event
        return
    except (BusyError, EngineNotReadyError) as error:
        if begun:
            raise
        refused = error
    try:
        async with aclosing(second(request)) as taken:
            async for event in taken:
                begun = True
                yield event
    except (BusyError, UpstreamError) as error:
        if begun:
            raise
        raise refused_twice(refused, error) from None


async def _chunks(client: UpstreamClient, request: TurnRequest) -> AsyncGenerator[Any, None]:
    way = passage()
    if way.hops >= MAX_HOPS:
        raise HTTPError(508, "The upstreams lead in a circle. Mend their specs.", code="upstream_loop")
    body = msgspec.json.encode(chat_body(request, client.their_model, client.limits.max_tokens))
    answer = await client.ask(Question(_CHAT, body, way.request_id, way.hops + 1))
    if not answer.is_stream:
        found = await answer.read(client.limits.max_answer_bytes)
        if answer.status == 200:
            raise UpstreamError(f"The upstream of {client.name} does not stream; responses and agents need that.")
        raise refusal(answer, found)
    async with aclosing(events(answer)) as blocks:
        async for block in blocks:
            for data in data_of(block):
                yield _decode(client, data)


def _decode(client: UpstreamClient, data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        raise UpstreamError(f"The upstream of {client.name} sent an event that is not JSON.") from None
