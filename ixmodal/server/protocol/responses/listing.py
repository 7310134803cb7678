"""Lists in pages, and the query parameters that GET routes take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.requests import Request

from ixmodal.server.errors import HTTPError, from_validation
from ixmodal.server.protocol.responses.items import Item
from ixmodal.server.protocol.responses.request import Include

Query = TypeVar("Query", bound=BaseModel)
_LISTS = ("include",)


class IncludeQuery(BaseModel):
    """`include`: accepted without effect, there is nothing more to include."""

    model_config = ConfigDict(extra="forbid")
    include: list[Include] = []


class GetQuery(IncludeQuery):
    """The query of `GET /v1/responses/{id}`."""

    stream: bool = False
    starting_after: int | None = Field(None, ge=0)
    include_obfuscation: Annotated[Literal[False] | None, BeforeValidator(lambda v: False if v == "false" else v)] = (
        None
    )


class ListQuery(IncludeQuery):
    """The query of a list of items."""

    limit: int = Field(20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None


def query_of(request: Request, kind: type[Query]) -> Query:
    """The query as `kind`. Raises `HTTPError` 400 that names what is wrong with it."""
    data: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        bare = name.removesuffix("[]")
        if bare in _LISTS:
            data.setdefault(bare, []).append(value)
        else:
            data[name] = value
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise from_validation(error) from None


def page(items: Sequence[Item], query: ListQuery) -> dict[str, Any]:
    """A page of items, which come oldest first. Raises `HTTPError` for a cursor that is not among them."""
    ordered = list(items if query.order == "asc" else reversed(items))
    if query.after is not None:
        at = next((i for i, item in enumerate(ordered) if item["id"] == query.after), None)
        if at is None:
            raise HTTPError(400, f"No item here has the id '{query.after:.128}'.", param="after", code="invalid_value")
        ordered = ordered[at + 1 :]
    return as_list(ordered[: query.limit], has_more=len(ordered) > query.limit)


def as_list(items: Sequence[Item], *, has_more: bool = False) -> dict[str, Any]:
    """Items as a list object; the ids of an empty one are empty texts."""
    first, last = (items[0]["id"], items[-1]["id"]) if items else ("", "")
    return {"object": "list", "data": list(items), "first_id": first, "last_id": last, "has_more": has_more}
