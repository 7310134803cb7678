"""A request as it goes to an upstream."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """What to ask.

    Attributes:
        path: the route as this server names it, with its query; those below /v1 go below the upstream's base URL.
        body: JSON; None asks by GET.
        request_id: the id under which the request is known here.
        hops: servers that passed it on, this one counted.
    """

    path: str
    body: bytes | None
    request_id: str
    hops: int = 1
