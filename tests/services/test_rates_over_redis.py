"""Limits that two real servers share over a real Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.services.conftest import Redis
from tests.support.server import SCRIPTED, Server, serve, wait_for

KEYS = [
    {"name": "few", "key": "few", "requests_per_minute": 5},
    {"name": "tokens", "key": "tokens", "tokens_per_minute": 1_000_000},
    {"name": "spender", "key": "spender", "tokens_per_minute": 10},
]


@contextmanager
def two_servers(redis: Redis) -> Iterator[tuple[Server, Server]]:
    spec = {"name": "shared", "models": [{"id": "demo"}], "endpoint": {"keys": KEYS}, "state": {"url": redis.url}}
    environ = {"IXMODAL_SPEC": json.dumps(spec)}
    with serve(SCRIPTED, environ) as one, serve(SCRIPTED, environ) as other:
        yield one, other


@pytest.fixture
def servers(redis: Redis) -> Iterator[tuple[Server, Server]]:
    with two_servers(redis) as both:
        yield both


def ask(server: Server, key: str) -> httpx.Response:
    body: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "say:four"}]}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})


def left(server: Server, key: str, of: str) -> int:
    answer = httpx.get(f"{server.url}/v1/models", headers={"authorization": f"Bearer {key}"})
    return int(answer.headers[f"x-ratelimit-remaining-{of}"])


def test_replicas_share_limits(servers: tuple[Server, Server], redis: Redis) -> None:
    one, other = servers
    answers = [ask(servers[turn % 2], "few") for turn in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == list("4321000")
    used = sum(ask(server, "tokens").json()["usage"]["total_tokens"] for server in servers)
    assert left(one, "tokens", "tokens") == left(other, "tokens", "tokens") == 1_000_000 - used
    assert [ask(one, "spender").status_code, ask(other, "spender").status_code] == [200, 429]
    keys = redis.send("KEYS *").decode().split()
    names = [key for key in keys if ":" in key]
    assert names
    assert all(name.startswith("ixmodal:shared:limits") for name in names)  # apps may share a Redis
    for name in names:
        assert 0 < int(redis.send(f"TTL {name}")[1:].strip()) <= 60  # nothing stays for ever


def test_an_outage_leaves_each_process_its_own_count(servers: tuple[Server, Server], redis: Redis) -> None:
    one, _ = servers
    assert ask(one, "few").status_code == 200
    redis.stop()
    assert [ask(one, "few").status_code for _ in range(6)] == [200] * 5 + [429]
    assert one.log.count("each process counts for itself") == 1
    redis.start()
    wait_for(lambda: ask(one, "tokens").is_success and redis.send("DBSIZE") != b":0\r\n", 20)
    assert ask(one, "few").status_code == 200


def test_a_redis_that_hangs_holds_nothing_up(servers: tuple[Server, Server], redis: Redis) -> None:
    one, _ = servers
    assert ask(one, "few").status_code == 200
    redis.send("CLIENT PAUSE 8000 ALL")
    assert ask(one, "few").status_code == 200  # within httpx's 5 seconds
    assert "each process counts for itself" in one.log
