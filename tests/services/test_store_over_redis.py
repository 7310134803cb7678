"""The store in a real Redis: the contract, expiry, and an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ixmodal.server.store import Entry, RedisStore, Store, StoreError
from tests.server.store.contract import Make, SharedStoreContract, response
from tests.services.conftest import Redis


@pytest.fixture
async def make(redis: Redis) -> AsyncIterator[Make]:
    made: list[Store] = []

    def _make(**bounds: Any) -> Store:
        made.append(RedisStore(redis.url, bounds.pop("name", "app"), **bounds))
        return made[-1]

    yield _make
    for store in made:
        await store.close()


class TestRedisStore(SharedStoreContract):
    pass


def names(redis: Redis) -> list[str]:
    return [name for name in redis.send("KEYS *").decode().split() if name.startswith("ixmodal")]


async def test_redis_itself_forgets_what_is_too_old(make: Make, redis: Redis) -> None:
    store = make(max_age=1)
    await store.open()
    await store.put(response("a", b"", "key"))
    await store.append("response", "a", [Entry("1", b"one")])
    await store.put(response("open", is_open=True))
    for name in names(redis):
        assert 0 < int(redis.send(f"PTTL {name}")[1:].strip()) <= 1000 * (1 + 86_400), name
    await asyncio.sleep(1.1)
    assert [name for name in names(redis) if name.endswith((":a", "key:key"))] == []
    assert await store.get("response", "a") is None
    assert await store.get("response", "open")
    await store.put(response("b"))
    assert redis.send("ZRANGE ixmodal:{app}:used:response 0 -1").split()[2:] == [b"b"]


async def test_apps_share_a_redis_without_meeting(make: Make) -> None:
    one, other = make(name="one"), make(name="other")
    await one.open()
    await other.open()
    await one.put(response("a", b"", "key", is_open=True))
    assert await other.get("response", "a") is None
    assert await other.find("key") is None


async def test_many_entries_are_kept_and_read(make: Make) -> None:
    store = make()
    await store.open()
    await store.put(response("a"))
    await store.append("response", "a", [Entry(str(n), b"%d" % n) for n in range(20_000)])
    assert [entry.body for entry in await store.entries("response", "a")] == [b"%d" % n for n in range(20_000)]


async def test_an_outage_is_told_without_its_address_and_passes(make: Make, redis: Redis) -> None:
    store = make()
    await store.open()
    await store.put(response("a"))
    redis.stop()
    with pytest.raises(StoreError, match=r"can't be reached now\. Please try again later\.$"):
        await store.get("response", "a")
    redis.start()
    assert await store.get("response", "a") is None  # this one writes nothing to disk
    await store.put(response("a"))
    assert await store.get("response", "a")
    redis.send("CLIENT PAUSE 6000 ALL")
    with pytest.raises(StoreError):
        await store.get("response", "a")
