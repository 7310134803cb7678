"""A turn that is tried again before it has begun: with fewer messages, or when there is room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from ixmodal.errors import BusyError, ContextLengthError, RequestError
from ixmodal.server.protocol.responses.messages import without_oldest
from ixmodal.server.turns import TurnEvent, TurnRequest

Turn = Callable[[TurnRequest], AsyncGenerator[TurnEvent, None]]


async def attempts(
    run: Turn, request: TurnRequest, *, patience: float, shorten: bool
) -> AsyncGenerator[TurnEvent, None]:
    """The events of a turn.

    Args:
        run: makes them.
        request: the turn.
        patience: seconds to go on trying while the engine is busy.
        shorten: leave out the oldest turns of a conversation that is too long: one, then two more, then four.
    """
    deadline = time.monotonic() + patience
    dropped = 1
    while True:
        begun = False
        try:
            async with aclosing(run(request)) as events:
                async for event in events:
                    begun = True
                    yield event
            return
        except ContextLengthError as error:
            shorter = without_oldest(request.messages, dropped) if shorten and not begun else None
            if shorter is None:
                raise _of_input(error) from None
            request, dropped = replace(request, messages=shorter), dropped * 2
        except RequestError as error:
            raise _of_input(error) from None
        except BusyError as error:
            if begun or time.monotonic() + error.retry_after > deadline:
                raise
            await asyncio.sleep(error.retry_after)


def _of_input(error: RequestError) -> RequestError:
    """The engine speaks of messages; here they are the input."""
    if error.param == "messages":
        error.param = "input"
    return error
