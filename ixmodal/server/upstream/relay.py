"""An upstream's stream of events, passed back: whole events, each byte as it came."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from ixmodal.errors import UpstreamError

if TYPE_CHECKING:
    from ixmodal.upstreams.answer import Answer

_END_OF_EVENT = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_DONE = re.compile(rb"(?:\A|(?<=[\r\n]))data: ?\[DONE\](?:\r\n|\n|\r)")
_LONGEST_EVENT = 16_777_216


async def events(answer: Answer) -> AsyncGenerator[bytes, None]:
    """One or more whole events at a time, up to the last, `[DONE]`, which is left to the stream that carries them.

    An event of which only a part came is never passed on, so that what follows it, an error event, can be read.

    Raises:
        UpstreamError: the stream was cut; one that ends without `[DONE]` counts as cut, for clients take it for whole.
    """
    rest = b""
    async with aclosing(answer.chunks()) as chunks:
        async for chunk in chunks:
            rest += chunk
            ends = [match.end() for match in _END_OF_EVENT.finditer(rest)]
            if ends:
                whole, rest = rest[: ends[-1]], rest[ends[-1] :]
                done = _DONE.search(whole)
                if shown := whole[: done.start()] if done else whole:
                    yield shown
                if done:
                    return
            if len(rest) > _LONGEST_EVENT:
                raise UpstreamError(f"The upstream of {answer.name} sent an event of over {_LONGEST_EVENT} bytes.")
    raise UpstreamError(f"The upstream of {answer.name} ended its stream before it was done.")


def data_of(block: bytes) -> list[bytes]:
    """The data of each event of a block of whole events; comments and other fields are left out."""
    found = []
    for part in _END_OF_EVENT.split(block):
        lines = [line[5:].removeprefix(b" ") for line in part.splitlines() if line.startswith(b"data:")]
        if lines:
            found.append(b"\n".join(lines))
    return found
