"""Which headers cross over to an upstream and back. All others end here: cookies, keys, what belongs to one hop."""

from __future__ import annotations

from collections.abc import Mapping

from ixmodal import __version__

HOPS = "x-ixmodal-hops"
"""How many servers of this kind have passed a request on."""
_KEPT = frozenset(
    {
        "cache-control",
        "content-encoding",
        "content-type",
        "retry-after",
        "retry-after-ms",
        "x-accel-buffering",
        "x-should-retry",
    }
)


def to_upstream(key: str | None, request_id: str, hops: int, *, has_body: bool) -> dict[str, str]:
    """The headers of a forwarded request: nothing of the caller's but the id of its request."""
    headers = {
        # What comes back is passed on as it is, and the caller was not asked which encodings it knows.
        "accept-encoding": "identity",
        "user-agent": f"ixmodal/{__version__}",
        "x-request-id": request_id,
        HOPS: str(hops),
    }
    if has_body:
        headers["content-type"] = "application/json"
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    return headers


def from_upstream(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer that its caller gets, in lower case; the upstream's request id under a name of its own.

    What it says of its time and of the limits of its key is left out: this server tells its own.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    kept = {name: value for name, value in lower.items() if name in _KEPT}
    if request_id := lower.get("x-request-id"):
        kept["x-upstream-request-id"] = request_id
    return kept
