"""`POST /v1/rerank`: documents in the order of their embeddings' similarity to the query's."""

from __future__ import annotations

import asyncio
import uuid

from starlette.requests import Request
from starlette.responses import Response

from ixmodal.engine.request import Pooling
from ixmodal.server.json import JSONResponse
from ixmodal.server.openapi.operation import ENGINE, Described, Operation
from ixmodal.server.protocol.objects.rerank import Ranking, RerankResult
from ixmodal.server.protocol.rerank import RerankRequest, similarities
from ixmodal.server.routes.common import model_of, parse
from ixmodal.server.routes.embeddings import embed_all


async def rerank(request: Request) -> Response:
    """Rank documents by how near they are to a query."""
    body = await parse(request, RerankRequest)
    body.check()
    served = model_of(request, body.model)
    query, *found = await embed_all(served.engine_at_once, body.prompts(), Pooling(served.model.pooling))
    # Thousands of vectors take a second: the loop goes on meanwhile.
    scores = await asyncio.to_thread(similarities, query.vector, [item.vector for item in found])
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    tokens = query.prompt_tokens + sum(item.prompt_tokens for item in found)
    ranking: Ranking = {
        "id": f"rerank-{uuid.uuid4().hex}",
        "model": served.model.id,
        "results": [_result(body, index, scores[index]) for index in order[: body.top_n]],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return JSONResponse(ranking)


def _result(body: RerankRequest, index: int, score: float) -> RerankResult:
    result: RerankResult = {"index": index, "relevance_score": score}
    if body.return_documents:
        result["document"] = {"text": body.documents[index].text}
    return result


ROUTES = [
    Described(
        "/v1/rerank",
        rerank,
        Operation("rerank", "POST", "Rank documents by a query.", Ranking, body=RerankRequest, errors=ENGINE),
    )
]
