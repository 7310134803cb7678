from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from ixmodal.errors import UpstreamError
from ixmodal.server.upstream.relay import data_of, events

STREAM = b': hello\n\ndata: {"a": 1}\n\nevent: x\ndata: {"b":\xc3\xa9}\n\ndata: [DONE]\n\n'


class Scripted:
    """An answer whose chunks are given."""

    name = "big"

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for part in self._parts:
            yield part


async def relayed(*parts: bytes) -> list[bytes]:
    answer: Any = Scripted(*parts)
    return [block async for block in events(answer)]


async def test_every_byte_comes_back_but_for_the_last_event() -> None:
    whole = STREAM.removesuffix(b"data: [DONE]\n\n")
    assert b"".join(await relayed(STREAM)) == whole
    for cut in range(1, len(STREAM)):
        blocks = await relayed(STREAM[:cut], STREAM[cut:])
        assert b"".join(blocks) == whole
        assert all(block.endswith(b"\n\n") for block in blocks)
    assert b"".join(await relayed(*(bytes([byte]) for byte in STREAM))) == whole


async def test_other_ends_of_lines() -> None:
    stream = b"data: 1\r\n\r\ndata: 2\r\n\r\ndata:[DONE]\r\n\r\n"
    assert b"".join(await relayed(*(bytes([byte]) for byte in stream))) == b"data: 1\r\n\r\ndata: 2\r\n\r\n"


async def test_the_end_is_an_event_not_a_text() -> None:
    stream = b'data: {"content": "data: [DONE]"}\n\ndata: [DONE]\n\n'
    assert await relayed(stream) == [b'data: {"content": "data: [DONE]"}\n\n']


async def test_whole_events_come_before_a_cut_and_no_part_of_one() -> None:
    answer: Any = Scripted(b"data: 1\n\ndata: 2")
    blocks = events(answer)
    assert await anext(blocks) == b"data: 1\n\n"
    with pytest.raises(UpstreamError, match="upstream of big ended its stream before it was done"):
        await anext(blocks)


async def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ixmodal.server.upstream.relay._LONGEST_EVENT", 100)
    with pytest.raises(UpstreamError, match="over 100 bytes"):
        await relayed(b"data: " + b"x" * 60, b"x" * 60)


def test_data_of_a_block() -> None:
    assert data_of(b": c\n\ndata: 1\n\nevent: x\ndata:2\ndata: 3\n\nid: 4\n\n") == [b"1", b"2\n3"]
