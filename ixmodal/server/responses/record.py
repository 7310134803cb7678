"""A response as it is kept: the object, the input it answered, and the log of its events."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ixmodal.server.protocol.responses.answers import FINAL, Response
from ixmodal.server.protocol.responses.items import Item
from ixmodal.server.responses.assembler import Assembler
from ixmodal.server.store import Document, Entry, Store

_END = b"\n\n"


@dataclass
class Record:
    """A response and the input items that it answered, on its caller's shelf of the store."""

    response: Response
    input: list[Item] = field(default_factory=list)
    shelf: str = ""

    @property
    def id(self) -> str:
        """The response's id."""
        return str(self.response["id"])

    @property
    def name(self) -> str:
        """Its id in the store."""
        return self.shelf + self.id

    @property
    def is_final(self) -> bool:
        """True once nothing about it changes any more."""
        return self.response["status"] in FINAL

    @property
    def items(self) -> list[Item]:
        """What it adds to a conversation."""
        return [*self.input, *self.response["output"]]

    def to_document(self) -> Document:
        """The record for a store. It is found by the ids of its output."""
        body = orjson.dumps({"response": self.response, "input": self.input})
        keys = tuple(self.shelf + item["id"] for item in self.response["output"])
        return Document("response", self.name, body, keys, is_open=not self.is_final)


def to_record(document: Document) -> Record:
    """The record of a document."""
    record = Record(**orjson.loads(document.body))
    record.shelf = document.id.removesuffix(record.id)
    return record


async def append_log(store: Store, name: str, first: int, frames: Sequence[bytes]) -> None:
    """Add events to a response's log; `first` is the sequence number of the first of them."""
    body = await asyncio.to_thread(zlib.compress, b"".join(frames))
    await store.append("response", name, [Entry(f"{first:010}", body)])


async def read_log(store: Store, name: str) -> list[bytes]:
    """All events of a response's log."""
    entries = await store.entries("response", name)
    return await asyncio.to_thread(_unpack, entries)


def _unpack(entries: Sequence[Entry]) -> list[bytes]:
    whole = b"".join(zlib.decompress(entry.body) for entry in entries)
    return [part + _END for part in whole.split(_END)[:-1]]


def data_of(frame: bytes) -> dict[str, Any]:
    """The event in a frame."""
    event: dict[str, Any] = orjson.loads(frame.partition(b"\ndata: ")[2])
    return event


async def bury(store: Store, document: Document, error: Exception) -> None:
    """End a response whose writer is gone, and is now this process: failed, with the items that its log has whole."""
    record = to_record(document)
    frames = await read_log(store, record.name)
    events = [data_of(frame) for frame in frames]
    last = events[-1].get("response") if events else None
    if last and last["status"] in FINAL:  # only the last write was lost
        record.response = last
    else:
        record.response["output"] = [event["item"] for event in events if event["type"].endswith("output_item.done")]
        first = len(frames)
        Assembler(record.response, frames).fail(error)
        await append_log(store, record.name, first, frames[first:])
    await store.rewrite(record.to_document())
