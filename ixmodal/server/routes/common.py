"""What the generating routes share: reading the body, running the choices, whole or as a stream."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from ixmodal.runtime import Runtime, ServedModel
from ixmodal.server.callers import find_model
from ixmodal.server.errors import from_validation
from ixmodal.server.responders import Responders

_LARGE_BODY = 65_536
Body = TypeVar("Body", bound=BaseModel)


def runtime_of(request: Request) -> Runtime:
    """The runtime that the application serves."""
    runtime: Runtime = request.app.state.runtime
    return runtime


def model_of(request: Request, name: str | None) -> ServedModel:
    """The model that a request names. Raises `RequestError` if there is none that its caller may use."""
    return find_model(runtime_of(request), name)


def responders_of(request: Request) -> Responders:
    """The models and agents that answer."""
    responders: Responders = request.app.state.responders
    return responders


async def parse(request: Request, kind: type[Body]) -> Body:
    """The body as a request of `kind`. Raises `HTTPError` 400 that names what is wrong with it."""
    raw = await request.body()
    try:
        if len(raw) > _LARGE_BODY:
            return await asyncio.to_thread(kind.model_validate_json, raw)
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise from_validation(error) from None


def head_of(prefix: str, object: str, model: str) -> dict[str, Any]:
    """What all chunks of an answer have in common."""
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "object": object, "created": int(time.time()), "model": model}
