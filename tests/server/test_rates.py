"""Limits by caller, through the whole application."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from ixmodal.errors import SpecError
from ixmodal.server import counters
from ixmodal.server.rates import duration
from ixmodal.spec import AgentSpec, ApiKey, App, Endpoint, RateLimit, State
from tests.support.scripted import scripted_app
from tests.support.server import SCRIPTED, Server, free_port, serve, wait_for

CHAT: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "say:four"}]}
HEADER_NAMES = {f"x-ratelimit-{a}-{b}" for a in ("limit", "remaining", "reset") for b in ("requests", "tokens")}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def app(*keys: ApiKey, **fields: Any) -> App:
    return App(
        endpoint=Endpoint(keys=keys, rate_limit=RateLimit(**fields)), agents=(AgentSpec(id="agent", model="demo"),)
    )


def ask(client: TestClient, key: str | None = None, **fields: Any) -> Any:
    return client.post("/v1/chat/completions", json={**CHAT, **fields}, headers=bearer(key) if key else {})


def shown(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("x-ratelimit-")}


def spent(client: TestClient, key: str) -> int:
    """What a key of 1,000,000 tokens a minute has used."""
    headers = client.get("/v1/models", headers=bearer(key)).headers
    return 1_000_000 - int(headers["x-ratelimit-remaining-tokens"])


def test_requests_are_counted_by_key_and_refused_in_openais_words() -> None:
    keys = (ApiKey(name="few", key="few", requests_per_minute=2), ApiKey(name="many", key="many"))
    with TestClient(scripted_app(app(*keys))) as client:
        first, second, third = (ask(client, "few") for _ in range(3))
        assert (first.status_code, second.status_code, third.status_code) == (200, 200, 429)
        assert set(shown(first.headers)) == {name for name in HEADER_NAMES if name.endswith("requests")}
        remaining = [answer.headers["x-ratelimit-remaining-requests"] for answer in (first, second, third)]
        assert remaining == ["1", "0", "0"]
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert re.fullmatch(r"1m0s|[1-5]?\ds", third.headers["x-ratelimit-reset-requests"])
        error = third.json()["error"]
        assert (error["type"], error["code"], error["param"]) == ("requests", "rate_limit_exceeded", None)
        after = int(third.headers["retry-after"])
        assert 1 <= after <= 60
        assert error["message"] == (
            "Rate limit reached for few on requests per min (RPM): Limit 2, Used 2, Requested 1. "
            f"Please try again in {duration(after)}."
        )
        assert client.get("/v1/models", headers=bearer("few")).status_code == 200  # reading is not counted
        other = ask(client, "many")
        assert other.status_code == 200
        assert not shown(other.headers)  # no limit, nothing said


def test_callers_without_keys_share_the_endpoints_limit() -> None:
    with TestClient(scripted_app(app(requests_per_minute=1))) as client:
        assert [ask(client).status_code for _ in range(2)] == [200, 429]
        assert client.get("/health").status_code in (200, 503)
        assert not shown(client.get("/health").headers)


def test_tokens_are_charged_as_usage_says() -> None:
    key = ApiKey(name="k", key="k", tokens_per_minute=1_000_000)
    with TestClient(scripted_app(app(key))) as client:
        used = 0
        for path, body in [
            ("/v1/chat/completions", CHAT),
            ("/v1/chat/completions", {**CHAT, "n": 3}),
            ("/v1/chat/completions", {**CHAT, "model": "agent"}),
            ("/v1/completions", {"model": "demo", "prompt": ["say:a|", "say:bc|"], "n": 2, "max_tokens": 4}),
            ("/v1/embeddings", {"model": "demo", "input": ["one", "three"]}),
            ("/v1/responses", {"model": "demo", "input": "say:four"}),
            ("/tokenize", {"model": "demo", "prompt": "say:four"}),
        ]:
            answer = client.post(path, json=body, headers=bearer("k"))
            assert answer.status_code == 200, answer.text
            used += answer.json().get("usage", {"total_tokens": 0})["total_tokens"]
            assert spent(client, "k") == used, path
            assert int(answer.headers["x-ratelimit-remaining-tokens"]) == 1_000_000 - used, path
        options = {"stream": True, "stream_options": {"include_usage": True}}
        lines = ask(client, "k", **options).text.split("\n\n")
        usage = json.loads(lines[-3].removeprefix("data: "))["usage"]
        assert spent(client, "k") == used + usage["total_tokens"]


def test_a_spent_budget_refuses_what_makes_work() -> None:
    with TestClient(scripted_app(app(ApiKey(name="k", key="k", tokens_per_minute=5)))) as client:
        assert ask(client, "k").status_code == 200  # admitted with something left, it runs to its end
        refused = ask(client, "k")
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("tokens", "rate_limit_exceeded")
        assert "tokens per min (TPM): Limit 5, Used 5" in error["message"]
        assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
        assert client.get("/v1/models", headers=bearer("k")).status_code == 200


@pytest.fixture(scope="module")
def limited() -> Iterator[Server]:
    """A real server: one key of one request at a time, one of many tokens."""
    keys = [
        {"name": "single", "key": "single", "max_concurrent": 1},
        {"name": "counted", "key": "counted", "tokens_per_minute": 1_000_000},
        {"name": "pair", "key": "pair", "requests_per_minute": 1},
    ]
    spec = {"models": [{"id": "demo", "slots": 2}], "endpoint": {"keys": keys}}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        yield server


def post(server: Server, key: str, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
    sent = {**CHAT, **body} if path.endswith("completions") else body
    return httpx.post(f"{server.url}{path}", json=sent, headers=bearer(key), timeout=20)


def slow_stream(server: Server, key: str) -> Any:
    messages = [{"role": "user", "content": "!slow=0.05 !forever say:abc"}]
    body = {**CHAT, "messages": messages, "stream": True}
    return httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, headers=bearer(key))


def test_requests_at_one_time_are_bounded(limited: Server) -> None:
    with slow_stream(limited, "single") as running:
        lines = running.iter_lines()
        assert next(lines)
        refused = post(limited, "single")
        assert refused.status_code == 429
        assert "concurrent requests: Limit 1, Used 1, Requested 1" in refused.json()["error"]["message"]
        assert refused.headers["retry-after"] == "1"
        assert post(limited, "counted").status_code == 200
    wait_for(lambda: post(limited, "single").status_code == 200, 5)


def test_a_background_response_holds_its_callers_place(limited: Server) -> None:
    body = {"model": "demo", "input": "!slow=0.05 !forever say:abc", "background": True}
    begun = post(limited, "single", "/v1/responses", **body)
    assert begun.status_code == 200
    assert post(limited, "single").status_code == 429
    ended = httpx.post(f"{limited.url}/v1/responses/{begun.json()['id']}/cancel", headers=bearer("single"))
    assert ended.json()["status"] == "cancelled"  # what takes work away is not counted
    wait_for(lambda: post(limited, "single").status_code == 200, 5)


def test_a_client_that_hangs_up_has_paid_for_what_it_got(limited: Server) -> None:
    def remaining() -> int:
        headers = httpx.get(f"{limited.url}/v1/models", headers=bearer("counted")).headers
        return int(headers["x-ratelimit-remaining-tokens"])

    before = remaining()
    with slow_stream(limited, "counted") as running:
        lines = running.iter_lines()
        for _ in range(12):
            next(lines)
    wait_for(lambda: remaining() < before - 5, 5)


def test_redis_out_of_reach_leaves_each_process_its_own_count(caplog: pytest.LogCaptureFixture) -> None:
    spec = app(ApiKey(name="k", key="k", requests_per_minute=2, tokens_per_minute=1_000_000))
    spec = spec.model_copy(update={"state": State(url=f"redis://:hidden-word@127.0.0.1:{free_port()}/0")})
    with caplog.at_level(logging.INFO), TestClient(scripted_app(spec)) as client:
        assert [ask(client, "k").status_code for _ in range(3)] == [200, 200, 429]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len([text for text in warnings if "each process counts for itself" in text]) == 1
    assert "hidden-word" not in caplog.text
    assert "hidden-word" not in repr(spec)


def test_redis_without_its_client_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(SpecError, match=r"pip install 'ixmodal\[redis\]'"):
        scripted_app(App(state=State(url="redis://127.0.0.1:1/0")))


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0s"), (0.2, "1s"), (1, "1s"), (59.5, "1m0s"), (60, "1m0s"), (360, "6m0s"), (61.2, "1m2s")],
)
def test_durations_are_written_as_openai_does(seconds: float, written: str) -> None:
    assert duration(seconds) == written


def test_the_minute_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = app(ApiKey(name="k", key="k", requests_per_minute=1, tokens_per_minute=5))
    with TestClient(scripted_app(spec)) as client:
        assert [ask(client, "k").status_code for _ in range(2)] == [200, 429]
        now = time.time()
        monkeypatch.setattr(counters.time, "time", lambda: now + 61)
        assert ask(client, "k").status_code == 200
