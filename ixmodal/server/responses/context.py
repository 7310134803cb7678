"""What came before a response: the chain of earlier ones, a conversation, items it refers to."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from ixmodal.server.callers import shelved
from ixmodal.server.errors import HTTPError
from ixmodal.server.protocol.fields import over
from ixmodal.server.protocol.responses.items import Item
from ixmodal.server.protocol.responses.request import ResponsesRequest
from ixmodal.server.responses.record import Record, to_record
from ixmodal.server.store import Entry, Store


def to_entries(items: Sequence[Item]) -> list[Entry]:
    """Items as entries of a conversation."""
    return [Entry(item["id"], orjson.dumps(item)) for item in items]


def from_entries(entries: Sequence[Entry]) -> list[Item]:
    """The items of a conversation's entries."""
    return [orjson.loads(entry.body) for entry in entries]


class Context:
    """Reads what came before. A context has `max_items` items at most."""

    def __init__(self, store: Store, max_items: int) -> None:
        self._store = store
        self._max_items = max_items

    async def before(self, body: ResponsesRequest) -> list[Item]:
        """The items that come before a request's own input.

        Raises:
            HTTPError: the previous response or the conversation isn't there, or there is too much of it.
        """
        if body.previous_response_id:
            return await self._chain(body.previous_response_id)
        if body.conversation:
            return await self.conversation(body.conversation)
        return []

    async def of(self, record: Record) -> list[Item]:
        """All items that a response answered, oldest first."""
        previous = record.response["previous_response_id"]
        conversation = record.response["conversation"]
        if previous:
            return [*await self._chain(previous, touch=False), *record.input]
        if conversation:
            return [*await self._conversation_before(conversation["id"], record), *record.input]
        return record.input

    async def conversation(self, id: str) -> list[Item]:
        """The items of a conversation. Raises `HTTPError` 404 if there is none."""
        if await self._store.get("conversation", shelved(id)) is None:
            raise not_found("Conversation", id, "conversation")
        return from_entries(await self._store.entries("conversation", shelved(id)))

    async def resolve(self, items: Sequence[Item], before: Sequence[Item]) -> list[Item]:
        """Input items with the items that references name in their place; what came before is not repeated."""
        known = {item["id"] for item in before}
        resolved = [
            await self._referred(item["id"]) if item["type"] == "item_reference" else item
            for item in items
            if item["id"] not in known
        ]
        if len(before) + len(resolved) > self._max_items:
            raise over("input", len(before) + len(resolved), self._max_items)
        return resolved

    async def _referred(self, id: str) -> Item:
        document = await self._store.find(shelved(id))
        output = to_record(document).response["output"] if document else []
        item: Item | None = next((item for item in output if item["id"] == id), None)
        if item is None:
            raise not_found("Item", id, "input")
        return item

    async def _chain(self, id: str, *, touch: bool = True) -> list[Item]:
        """The items of a response and of those before it. They count as used: a living chain is not dropped."""
        records: list[Record] = []
        count, next_id, conversation = 0, id, None
        while next_id:
            record = await self._link(next_id, id)
            records.append(record)
            count += len(record.items)
            if count > self._max_items:
                raise over("input", count, self._max_items)
            next_id = record.response["previous_response_id"]
            conversation = record.response["conversation"]
        if touch:
            await self._store.touch("response", [record.name for record in records])
        start = await self._conversation_before(conversation["id"], records[-1]) if conversation else []
        return start + [item for record in reversed(records) for item in record.items]

    async def _link(self, id: str, wanted: str) -> Record:
        document = await self._store.get("response", shelved(id))
        if document is None:
            earlier = "" if id == wanted else f" (an earlier one of its chain, '{id}', was deleted or has expired)"
            raise HTTPError(
                400,
                f"Previous response with id '{wanted}' not found{earlier}.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        record = to_record(document)
        if not record.is_final:
            raise HTTPError(
                400,
                f"The previous response '{id}' is still in progress; wait until it is completed.",
                param="previous_response_id",
                code="invalid_value",
            )
        return record

    async def _conversation_before(self, id: str, record: Record) -> list[Item]:
        """A conversation's items before those of one of its responses; none if the conversation is gone."""
        own = {item["id"] for item in record.items}
        items = from_entries(await self._store.entries("conversation", shelved(id)))
        first = next((at for at, item in enumerate(items) if item["id"] in own), len(items))
        return items[:first]


def not_found(what: str, id: str, param: str | None = "id") -> HTTPError:
    """The 404 for what is not in the store."""
    return HTTPError(404, f"{what} with id '{id:.128}' not found.", param=param, code=f"{what.lower()}_not_found")
