"""Conversations: items that responses read and add to."""

from __future__ import annotations

from typing import Any

import orjson

from ixmodal.server.callers import shelved
from ixmodal.server.protocol.fields import over
from ixmodal.server.protocol.responses.conversations import (
    CreateConversation,
    CreateItems,
    UpdateConversation,
    kept_items,
    new_conversation,
)
from ixmodal.server.protocol.responses.items import Item
from ixmodal.server.responses.context import Context, not_found, to_entries
from ixmodal.server.store import Document, Store

Conversation = dict[str, Any]


class ConversationService:
    """All conversations of a server. Every method may raise `HTTPError` 404."""

    def __init__(self, store: Store, max_items: int) -> None:
        self._store = store
        self._max_items = max_items
        self._context = Context(store, max_items)

    async def create(self, body: CreateConversation) -> Conversation:
        """A new conversation, with the body's items."""
        items = await self._context.resolve(kept_items(body), [])
        conversation = new_conversation(body)
        await self._write(conversation)
        await self._store.append("conversation", shelved(conversation["id"]), to_entries(items))
        return conversation

    async def get(self, id: str) -> Conversation:
        """A conversation."""
        document = await self._store.get("conversation", shelved(id))
        if document is None:
            raise not_found("Conversation", id)
        conversation: Conversation = orjson.loads(document.body)
        return conversation

    async def update(self, id: str, body: UpdateConversation) -> Conversation:
        """A conversation with new metadata."""
        conversation = {**await self.get(id), "metadata": body.metadata or {}}
        await self._write(conversation)
        return conversation

    async def delete(self, id: str) -> None:
        """Delete a conversation with its items."""
        if not await self._store.delete("conversation", shelved(id)):
            raise not_found("Conversation", id)

    async def items(self, id: str) -> list[Item]:
        """The items, oldest first."""
        return await self._context.conversation(id)

    async def add(self, id: str, body: CreateItems) -> list[Item]:
        """Add items at the end, and return them."""
        before = await self.items(id)
        items = await self._context.resolve(kept_items(body), before)
        if len(before) + len(items) > self._max_items:
            raise over("items", len(before) + len(items), self._max_items)
        await self._store.append("conversation", shelved(id), to_entries(items))
        return items

    async def item(self, id: str, item_id: str) -> Item:
        """One item."""
        item = next((item for item in await self.items(id) if item["id"] == item_id), None)
        if item is None:
            raise not_found("Item", item_id)
        return item

    async def remove(self, id: str, item_id: str) -> Conversation:
        """Remove an item, and return the conversation."""
        conversation = await self.get(id)
        if not await self._store.remove("conversation", shelved(id), item_id):
            raise not_found("Item", item_id)
        return conversation

    async def _write(self, conversation: Conversation) -> None:
        await self._store.put(Document("conversation", shelved(conversation["id"]), orjson.dumps(conversation)))
