"""Two real servers, one real Redis: what one makes, the other knows; and what an outage and a death leave."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.services.conftest import Redis
from tests.support.server import SCRIPTED, Server, serve, wait_for

ENDLESS = "!slow=0.02 !forever say:la"


@pytest.fixture
def servers(redis: Redis) -> Iterator[tuple[Server, Server]]:
    keys = [{"name": "alice", "key": "alice"}, {"name": "bob", "key": "bob"}]
    spec = {"name": "shared", "models": [{"id": "demo"}], "endpoint": {"keys": keys}, "state": {"url": redis.url}}
    environ = {"IXMODAL_SPEC": json.dumps(spec)}
    with serve(SCRIPTED, environ) as one, serve(SCRIPTED, environ) as other:
        yield one, other


def client(server: Server, key: str = "alice") -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def wait_until(sdk: OpenAI, id: str, *wanted: str, timeout: float = 20) -> Any:
    wait_for(lambda: sdk.responses.retrieve(id).status in wanted, timeout, lambda: sdk.responses.retrieve(id).status)
    return sdk.responses.retrieve(id)


def test_one_continues_and_deletes_what_the_other_made(servers: tuple[Server, Server]) -> None:
    here, there = (client(server) for server in servers)
    made = here.responses.create(model="demo", input="say:four")
    assert there.responses.retrieve(made.id) == made
    later = there.responses.create(model="demo", input="say:five", previous_response_id=made.id)
    assert here.responses.input_items.list(later.id).data[-1].id
    conversation = here.conversations.create(items=[{"type": "message", "role": "user", "content": "hello"}])
    there.responses.create(model="demo", input="say:six", conversation=conversation.id)
    assert len(here.conversations.items.list(conversation.id).data) == 3
    for stranger in (client(server, "bob") for server in servers):
        with pytest.raises(openai.NotFoundError):
            stranger.responses.retrieve(made.id)
    there.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        here.responses.retrieve(made.id)


def test_one_shows_and_cancels_what_the_other_works_on(servers: tuple[Server, Server]) -> None:
    here, there = (client(server) for server in servers)
    made = here.responses.create(model="demo", input=ENDLESS, background=True)
    wait_until(there, made.id, "in_progress")
    assert there.responses.cancel(made.id).status == "cancelled"
    assert here.responses.retrieve(made.id).status == "cancelled"
    events = list(there.responses.retrieve(made.id, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deleted = here.responses.create(model="demo", input=ENDLESS, background=True)
    there.responses.delete(deleted.id)
    wait_for(lambda: servers[0].health()["running"] == 0, 10, lambda: str(servers[0].health()))
    with pytest.raises(openai.NotFoundError):
        here.responses.retrieve(deleted.id)


def test_what_a_killed_server_left_fails_within_its_lease(servers: tuple[Server, Server], redis: Redis) -> None:
    here, there = (client(server) for server in servers)
    made = here.responses.create(model="demo", input=ENDLESS, background=True)
    wait_until(there, made.id, "in_progress")
    servers[0].stop(signal.SIGKILL)
    # Redis is told that the last sign of life was long ago, rather than this test wait for as long.
    redis.send(f"ZADD ixmodal:{{shared}}:open:response 1 alice/{made.id}")
    failed = wait_until(there, made.id, "failed")
    assert "ended while it made this response" in failed.error.message
    with pytest.raises(openai.APIError, match="ended while it made this response"):  # at the event that says so
        list(there.responses.retrieve(made.id, stream=True))


def test_without_redis_chat_goes_on_and_what_is_stored_is_a_503(servers: tuple[Server, Server], redis: Redis) -> None:
    here = client(servers[0])
    made = here.responses.create(model="demo", input="say:four")
    redis.stop()
    messages: Any = [{"role": "user", "content": "say:four"}]
    assert here.chat.completions.create(model="demo", messages=messages).choices[0].message.content == "four"
    with pytest.raises(openai.InternalServerError, match="can't be reached now") as caught:
        here.responses.retrieve(made.id)
    assert caught.value.status_code == 503
    assert str(redis.port) not in caught.value.message
    with pytest.raises(openai.InternalServerError):
        here.responses.create(model="demo", input="say:four")
    assert here.responses.create(model="demo", input="say:four", store=False).output_text == "four"
    assert httpx.get(f"{servers[0].url}/readyz").status_code == 200
    redis.start()
    assert here.responses.create(model="demo", input="say:five").output_text == "five"


def test_a_server_starts_without_its_redis_and_finds_it_later(redis: Redis) -> None:
    redis.stop()
    spec = {"name": "shared", "models": [{"id": "demo"}], "state": {"url": redis.url}}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        assert "what is stored can't be reached" in server.log
        redis.start()
        assert client(server).responses.create(model="demo", input="say:four").output_text == "four"
