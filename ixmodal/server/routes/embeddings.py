"""`POST /v1/embeddings`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from ixmodal.engine.admission import Group
from ixmodal.engine.client import EngineClient
from ixmodal.engine.messages import Embedded
from ixmodal.engine.request import Pooling, TextPrompt, TokenPrompt, Usage
from ixmodal.server.json import JSONResponse
from ixmodal.server.openapi.operation import ENGINE, Described, Operation
from ixmodal.server.protocol.embeddings import EmbeddingRequest
from ixmodal.server.protocol.objects.embeddings import EmbeddingList
from ixmodal.server.rates import spend
from ixmodal.server.routes.common import model_of, parse


async def embeddings(request: Request) -> Response:
    """Turn inputs into vectors, in their order."""
    body = await parse(request, EmbeddingRequest)
    body.check()
    served = model_of(request, body.model)
    found = await embed_all(served.engine_at_once, body.prompts(), Pooling(served.model.pooling))
    data = [
        {"object": "embedding", "index": index, "embedding": body.show(item.vector)} for index, item in enumerate(found)
    ]
    tokens = sum(item.prompt_tokens for item in found)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "model": served.model.id, "data": data, "usage": usage})


async def embed_all(
    engine: EngineClient, prompts: Sequence[TextPrompt | TokenPrompt], pooling: Pooling
) -> list[Embedded]:
    """Vectors in the order of prompts, as many at once as there are slots: one request should not fill the queue."""
    at_once = asyncio.Semaphore(engine.slots)
    admitted = Group()

    async def one(prompt: TextPrompt | TokenPrompt) -> Embedded:
        async with at_once:
            found = await engine.embed(prompt, pooling, admitted)
        spend(prompt, Usage(prompt_tokens=found.prompt_tokens))
        return found

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(prompt)) for prompt in prompts]
    except* Exception as errors:  # noqa: BLE001  # unwrapped: the first failure is what the client is told
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


ROUTES = [
    Described(
        "/v1/embeddings",
        embeddings,
        Operation(
            "createEmbedding",
            "POST",
            "Turn inputs into vectors.",
            EmbeddingList,
            body=EmbeddingRequest,
            errors=ENGINE,
        ),
    )
]
