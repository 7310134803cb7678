"""`/v1/conversations`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ixmodal.server.json import JSONResponse
from ixmodal.server.openapi.operation import STORE, Described, Operation
from ixmodal.server.protocol.objects.items import ItemList, ItemObject
from ixmodal.server.protocol.objects.responses import Conversation, DeletedConversation
from ixmodal.server.protocol.responses.conversations import CreateConversation, CreateItems, UpdateConversation
from ixmodal.server.protocol.responses.listing import IncludeQuery, ListQuery, as_list, page, query_of
from ixmodal.server.responses.conversations import ConversationService
from ixmodal.server.routes.common import parse


def _service(request: Request) -> ConversationService:
    service: ConversationService = request.app.state.conversations
    return service


async def create(request: Request) -> Response:
    """A new conversation; an empty body will do."""
    body = await parse(request, CreateConversation) if await request.body() else CreateConversation()
    return JSONResponse(await _service(request).create(body))


async def one(request: Request) -> Response:
    """Get, update or delete a conversation."""
    id, service = request.path_params["id"], _service(request)
    if request.method == "POST":
        return JSONResponse(await service.update(id, await parse(request, UpdateConversation)))
    if request.method == "DELETE":
        await service.delete(id)
        return JSONResponse({"id": id, "object": "conversation.deleted", "deleted": True})
    return JSONResponse(await service.get(id))


async def items(request: Request) -> Response:
    """List a conversation's items in pages, or add some."""
    id, service = request.path_params["id"], _service(request)
    if request.method == "POST":
        query_of(request, IncludeQuery)
        return JSONResponse(as_list(await service.add(id, await parse(request, CreateItems))))
    query = query_of(request, ListQuery)
    return JSONResponse(page(await service.items(id), query))


async def item(request: Request) -> Response:
    """Get or delete an item."""
    id, item_id, service = request.path_params["id"], request.path_params["item"], _service(request)
    if request.method == "DELETE":
        return JSONResponse(await service.remove(id, item_id))
    query_of(request, IncludeQuery)
    return JSONResponse(await service.item(id, item_id))


_GONE = (404, *STORE)
_ITS_ID = {"id": "$response.body#/id"}
_FIRST_ITEM = {"id": "$request.path.id", "item": "$response.body#/first_id"}
_FOLLOWING = (
    "getConversation",
    "updateConversation",
    "deleteConversation",
    "listConversationItems",
    "createConversationItems",
)
ROUTES = [
    Described(
        "/v1/conversations",
        create,
        Operation(
            "createConversation",
            "POST",
            "A new conversation.",
            Conversation,
            body=CreateConversation,
            body_required=False,
            errors=_GONE,
            links=dict.fromkeys(_FOLLOWING, _ITS_ID),
        ),
    ),
    Described(
        "/v1/conversations/{id}",
        one,
        Operation("getConversation", "GET", "A conversation.", Conversation, errors=_GONE),
        Operation(
            "updateConversation", "POST", "Set its metadata.", Conversation, body=UpdateConversation, errors=_GONE
        ),
        Operation("deleteConversation", "DELETE", "Delete it with its items.", DeletedConversation, errors=_GONE),
    ),
    Described(
        "/v1/conversations/{id}/items",
        items,
        Operation("listConversationItems", "GET", "Its items, in pages.", ItemList, query=ListQuery, errors=_GONE),
        Operation(
            "createConversationItems",
            "POST",
            "Add items at its end.",
            ItemList,
            body=CreateItems,
            query=IncludeQuery,
            errors=_GONE,
            links=dict.fromkeys(("getConversationItem", "deleteConversationItem"), _FIRST_ITEM),
        ),
    ),
    Described(
        "/v1/conversations/{id}/items/{item}",
        item,
        Operation("getConversationItem", "GET", "An item.", ItemObject, query=IncludeQuery, errors=_GONE),
        Operation("deleteConversationItem", "DELETE", "Remove an item.", Conversation, errors=_GONE),
    ),
]
