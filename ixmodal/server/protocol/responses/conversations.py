"""`/v1/conversations`: the requests, and the conversation object."""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import Field

from ixmodal.server.protocol.body import Body
from ixmodal.server.protocol.responses.items import InputItems, Item, kept, new_id
from ixmodal.server.protocol.responses.request import Metadata

MAX_ITEMS = 20
"""Items that one request may add."""


class CreateConversation(Body):
    """The body of `POST /v1/conversations`."""

    items: Annotated[InputItems | None, Field(max_length=MAX_ITEMS)] = None
    metadata: Metadata | None = None


class UpdateConversation(Body):
    """The body of `POST /v1/conversations/{id}`."""

    metadata: Metadata | None


class CreateItems(Body):
    """The body of `POST /v1/conversations/{id}/items`."""

    items: Annotated[InputItems, Field(min_length=1, max_length=MAX_ITEMS)]


def kept_items(body: CreateConversation | CreateItems) -> list[Item]:
    """The body's items as they are kept."""
    return [kept(item) for item in body.items or ()]


def new_conversation(body: CreateConversation) -> dict[str, Any]:
    """A conversation."""
    return {
        "id": new_id("conv"),
        "object": "conversation",
        "created_at": int(time.time()),
        "metadata": body.metadata or {},
    }
