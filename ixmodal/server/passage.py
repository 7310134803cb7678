"""What is known of the request being served, wherever in its task: its id, and how many servers passed it on."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import Headers

from ixmodal.upstreams.headers import HOPS

MAX_HOPS = 4
"""Servers that may pass a request on, one after the other: more are taken for a circle."""


@dataclass(frozen=True)
class Passage:
    """The way of a request. `hops` counts the servers that passed it on before this one."""

    request_id: str = ""
    hops: int = 0


_UNKNOWN = Passage()
_passage: ContextVar[Passage] = ContextVar("passage", default=_UNKNOWN)


def begin_passage(request_id: str, headers: Headers) -> None:
    """Note the request that this task begins to serve."""
    hops = headers.get(HOPS, "")
    _passage.set(Passage(request_id, min(int(hops), MAX_HOPS) if hops.isdecimal() and len(hops) < 4 else 0))


def passage() -> Passage:
    """The way of the request that is being served."""
    return _passage.get()
