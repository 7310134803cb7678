"""A store in a Redis that replicas share.

Redis runs each call as one script, by its own clock. What Redis itself does not keep, a restart loses: see its
persistence. `maxmemory-policy` should be `noeviction`.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ixmodal.errors import SpecError
from ixmodal.server.store.base import DEFAULT_MAX_AGE, DEFAULT_MAX_COUNT, LEASE, Document, Entry, Fate, Kind, StoreError
from ixmodal.server.store.redis_script import SCRIPT

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

TIMEOUT = 2.0
"""Seconds that Redis may take to accept a connection, and to answer."""
MAX_CONNECTIONS = 32


class RedisStore:
    """Keeps documents in Redis; see `Store`. Replicas whose apps have the same name share them.

    Args:
        url: `redis://` or `rediss://`.
        name: of the app.
        max_count: documents of each kind at most.
        max_age: seconds after its last use that a document is kept.
        clock: seconds since the epoch; None: Redis's own.

    Raises:
        SpecError: the client library for Redis is not installed.
    """

    def __init__(
        self,
        url: str,
        name: str,
        max_count: int = DEFAULT_MAX_COUNT,
        max_age: float = DEFAULT_MAX_AGE,
        clock: Callable[[], float] | None = None,
    ) -> None:
        try:
            import redis.asyncio  # noqa: F401  # asked for here, so that its lack is told before anything is served
        except ImportError:
            problem = "state.url: the client for Redis is not installed; pip install 'ixmodal[redis]'"
            raise SpecError("the spec", [problem]) from None
        self._url = url
        self._prefix = f"ixmodal:{{{name}}}:"  # braces: a cluster keeps all of it in one place, as scripts need it
        self._bounds = (max_count, max_age, LEASE)
        self._clock = clock
        self._owner = uuid.uuid4().hex
        self._client: Redis | None = None
        self._script: AsyncScript | None = None

    async def open(self) -> None:
        """Nothing is asked yet: a Redis that is away at the start may come later."""
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as LostConnectionError

        pool = BlockingConnectionPool.from_url(
            self._url,
            max_connections=MAX_CONNECTIONS,
            timeout=TIMEOUT,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 1, supported_errors=(LostConnectionError,)),  # one that Redis has closed
        )
        self._client = Redis.from_pool(pool)
        self._script = self._client.register_script(SCRIPT)

    async def close(self) -> None:
        """Close the connections. What this process left open has no writer once its lease has ended."""
        if self._client is not None:
            await self._client.aclose()
            self._client = self._script = None

    async def put(self, document: Document) -> None:
        """Write a document."""
        await self._run("put", document.kind, *_packed(document))

    async def get(self, kind: Kind, id: str) -> Document | None:
        """The document, or None."""
        return _unpacked(await self._run("get", kind, id))

    async def find(self, key: str) -> Document | None:
        """The document with that key, or None."""
        return _unpacked(await self._run("find", "", key))

    async def delete(self, kind: Kind, id: str) -> bool:
        """Delete a document with its entries."""
        return bool(await self._run("delete", kind, id))

    async def touch(self, kind: Kind, ids: Sequence[str]) -> None:
        """Count the documents as used now."""
        await self._run("touch", kind, *ids)

    async def append(self, kind: Kind, id: str, entries: Sequence[Entry]) -> bool:
        """Add entries at the end."""
        flat = [part for entry in entries for part in (entry.id, entry.body)]
        return bool(await self._run("append", kind, id, *flat))

    async def entries(self, kind: Kind, id: str) -> list[Entry]:
        """All entries in their order."""
        flat = await self._run("entries", kind, id)
        return [Entry(name.decode(), body) for name, body in zip(flat[::2], flat[1::2], strict=True)]

    async def remove(self, kind: Kind, id: str, entry_id: str) -> bool:
        """Remove an entry."""
        return bool(await self._run("remove", kind, id, entry_id))

    async def rewrite(self, document: Document) -> bool:
        """Write over an open document of this process."""
        return bool(await self._run("rewrite", document.kind, *_packed(document)))

    async def hold(self, kind: Kind, ids: Sequence[str]) -> dict[str, Fate]:
        """Go on writing open documents."""
        fates = await self._run("hold", kind, *ids)
        return {id: fate.decode() for id, fate in zip(ids, fates, strict=True) if fate}

    async def end(self, kind: Kind, id: str) -> bool:
        """Ask for the end of an open document."""
        return bool(await self._run("finish", kind, id))

    async def orphans(self, kind: Kind, /) -> list[Document]:
        """Open documents that nobody holds."""
        return [document for row in await self._run("orphans", kind) if (document := _unpacked(row))]

    async def _run(self, op: str, kind: str, *arguments: str | bytes) -> Any:
        from redis.exceptions import RedisError

        if self._script is None:
            raise StoreError("the store in Redis is closed")
        now = "" if self._clock is None else repr(self._clock())
        head = (op, now, self._owner, kind, *self._bounds)
        try:
            async with asyncio.timeout(2 * TIMEOUT):
                return await self._script(keys=[self._prefix], args=[*head, *arguments])
        except (RedisError, OSError) as error:  # its words name hosts: they are for the log
            raise StoreError("What is stored can't be reached now. Please try again later.") from error


def _packed(document: Document) -> tuple[str | bytes, ...]:
    return document.id, document.body, json.dumps(document.keys), "1" if document.is_open else ""


def _unpacked(row: list[bytes] | None) -> Document | None:
    if row is None:
        return None
    kind, id, body, keys, owner = row
    found: Any = kind.decode()
    return Document(found, id.decode(), body, tuple(json.loads(keys)), is_open=bool(owner))
