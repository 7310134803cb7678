"""One upstream, its answers made up by respx: what is sent, what is retried and when, how failures are told."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import respx
from tenacity import wait_none

from ixmodal import Limits, Model, SpecError, Upstream
from ixmodal.errors import BusyError, UpstreamError, UpstreamTimeoutError
from ixmodal.upstreams import retries
from ixmodal.upstreams.client import UpstreamClient, address
from ixmodal.upstreams.question import Question

URL = "https://big.example.com/v1"
CHAT = f"{URL}/chat/completions"
ASK = Question("/v1/chat/completions", b'{"model": "theirs"}', "req_1")

MakeClient = Callable[..., UpstreamClient]


@pytest.fixture
async def client_of() -> AsyncIterator[MakeClient]:
    """Clients of an upstream, closed at the end: (limits, max_queued=…, fields of the upstream)."""
    made: list[UpstreamClient] = []

    def make(limits: Limits | None = None, *, max_queued: int = 4, **fields: Any) -> UpstreamClient:
        model = Model("big", upstream=Upstream(url=URL, **fields))
        made.append(UpstreamClient(model, limits or Limits(), max_queued, {"BIG_KEY": "sk-from-variable"}))
        return made[-1]

    yield make
    for client in made:
        await client.close()


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause but the one that a server asks for."""
    monkeypatch.setattr(retries, "_BACK_OFF", wait_none())


async def told(client: UpstreamClient, question: Question = ASK) -> tuple[int, bytes]:
    answer = await client.ask(question)
    return answer.status, await answer.read(1_000_000)


async def test_what_is_sent(client_of: MakeClient, respx_mock: respx.MockRouter) -> None:
    route = respx_mock.post(CHAT).respond(200, json={"id": "x"}, headers={"set-cookie": "a=b", "x-request-id": "up-1"})
    answer = await client_of(key="env:BIG_KEY").ask(ASK)
    assert (answer.status, await answer.read(100)) == (200, b'{"id":"x"}')
    assert answer.headers == {"content-type": "application/json", "x-upstream-request-id": "up-1"}
    sent = route.calls.last.request
    assert sent.content == b'{"model": "theirs"}'
    kept = {name: value for name, value in sent.headers.items() if name not in ("user-agent", "content-length", "host")}
    assert kept == {
        "accept": "*/*",
        "accept-encoding": "identity",
        "authorization": "Bearer sk-from-variable",
        "connection": "keep-alive",
        "content-type": "application/json",
        "x-ixmodal-hops": "1",
        "x-request-id": "req_1",
    }


async def test_without_a_key_none_is_sent(client_of: MakeClient, respx_mock: respx.MockRouter) -> None:
    route = respx_mock.get("https://big.example.com/tokenizer_info?model=theirs").respond(404)
    assert (await told(client_of(), Question("/tokenizer_info?model=theirs", None, "req_1")))[0] == 404
    assert "authorization" not in route.calls.last.request.headers


def test_a_key_that_is_not_there_names_its_variable() -> None:
    for key, variable in (("env:NOT_THERE", "NOT_THERE"), ("secret:big", "IXMODAL_UPSTREAM_KEY")):
        model = Model("big", upstream=Upstream(url=URL, key=key))
        with pytest.raises(SpecError, match=f"the model big.*\n.*{key}: set the environment variable {variable}"):
            UpstreamClient(model, Limits(), 0, {})


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://host/v1", "/v1/embeddings", "https://host/v1/embeddings"),
        ("https://host/openai", "/v1/embeddings", "https://host/openai/embeddings"),
        ("https://host/v1", "/tokenize", "https://host/tokenize"),
        ("https://host/x/v1", "/tokenize", "https://host/x/tokenize"),
        ("https://host", "/tokenize", "https://host/tokenize"),
    ],
)
def test_addresses(base: str, path: str, url: str) -> None:
    assert address(base, path) == url


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_passing_refusal_is_asked_again(
    client_of: MakeClient, respx_mock: respx.MockRouter, status: int
) -> None:
    route = respx_mock.post(CHAT).mock(side_effect=[httpx.Response(status), httpx.Response(200, text="well")])
    assert await told(client_of()) == (200, b"well")
    assert route.call_count == 2


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_other_refusals_are_not_asked_again(
    client_of: MakeClient, respx_mock: respx.MockRouter, status: int
) -> None:
    route = respx_mock.post(CHAT).respond(status, text="no")
    assert await told(client_of()) == (status, b"no")
    assert route.call_count == 1


@pytest.mark.usefixtures("_at_once")
async def test_a_server_may_say_that_another_try_is_in_vain(
    client_of: MakeClient, respx_mock: respx.MockRouter
) -> None:
    route = respx_mock.post(CHAT).respond(503, headers={"x-should-retry": "false"})
    assert (await told(client_of()))[0] == 503
    assert route.call_count == 1


@pytest.mark.usefixtures("_at_once")
async def test_the_last_refusal_is_the_answer(client_of: MakeClient, respx_mock: respx.MockRouter) -> None:
    busy = [httpx.Response(429, text=f"busy {count}", headers={"retry-after": "0"}) for count in range(5)]
    route = respx_mock.post(CHAT).mock(side_effect=busy)
    client = client_of()
    assert await told(client) == (429, b"busy 2")
    assert route.call_count == 3
    assert (client.admission.busy, client.is_reachable) == (0, True)


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize(
    "asked", ["0.2", lambda: email.utils.formatdate(time.time() + 2, usegmt=True)], ids=["seconds", "date"]
)
async def test_the_pause_that_is_asked_for_is_made(
    client_of: MakeClient, respx_mock: respx.MockRouter, asked: Any
) -> None:
    pause = asked if isinstance(asked, str) else asked()
    busy = httpx.Response(503, headers={"retry-after": pause})
    respx_mock.post(CHAT).mock(side_effect=[busy, httpx.Response(200)])
    began = time.monotonic()
    assert (await told(client_of()))[0] == 200
    assert time.monotonic() - began >= 0.2


@pytest.mark.usefixtures("_at_once")
async def test_a_pause_beyond_the_deadline_is_not_made(client_of: MakeClient, respx_mock: respx.MockRouter) -> None:
    route = respx_mock.post(CHAT).respond(429, headers={"retry-after": "3600"})
    answer = await client_of(Limits(request_timeout=30)).ask(ASK)
    assert (answer.status, answer.headers["retry-after"]) == (429, "3600")
    await answer.aclose()
    assert route.call_count == 1


async def test_the_pauses_grow(client_of: MakeClient, respx_mock: respx.MockRouter) -> None:
    respx_mock.post(CHAT).respond(502)
    began = time.monotonic()
    assert (await told(client_of()))[0] == 502
    assert time.monotonic() - began >= 0.25 + 0.5


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.RemoteProtocolError("gone"), httpx.ReadError("")]
)
async def test_a_lost_connection_is_made_again(
    client_of: MakeClient, respx_mock: respx.MockRouter, error: httpx.TransportError
) -> None:
    respx_mock.post(CHAT).mock(side_effect=[error, httpx.Response(200)])
    assert (await told(client_of()))[0] == 200


@pytest.mark.usefixtures("_at_once")
async def test_an_upstream_that_is_not_there(client_of: MakeClient, respx_mock: respx.MockRouter) -> None:
    route = respx_mock.post(CHAT).mock(side_effect=httpx.ConnectError("refused"))
    client = client_of()
    with pytest.raises(UpstreamError, match="upstream of big can't be reached: refused \\(ConnectError\\)"):
        await client.ask(ASK)
    assert (route.call_count, client.is_reachable, client.admission.busy) == (3, False, 0)
    route.mock(return_value=httpx.Response(200))
    await told(client)
    assert client.is_reachable


@pytest.mark.usefixtures("_at_once")
async def test_silence_is_not_asked_again(client_of: MakeClient, respx_mock: respx.MockRouter) -> None:
    route = respx_mock.post(CHAT).mock(side_effect=httpx.ReadTimeout(""))
    with pytest.raises(UpstreamTimeoutError, match="silent for too long"):
        await client_of().ask(ASK)
    assert route.call_count == 1


@pytest.mark.usefixtures("_at_once")
async def test_no_connection_in_time(client_of: MakeClient, respx_mock: respx.MockRouter) -> None:
    route = respx_mock.post(CHAT).mock(side_effect=httpx.ConnectTimeout(""))
    with pytest.raises(UpstreamTimeoutError, match="no connection in time"):
        await client_of().ask(ASK)
    assert route.call_count == 3


async def test_the_time_of_a_request_is_bounded(client_of: MakeClient, respx_mock: respx.MockRouter) -> None:
    async def never(_request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError

    respx_mock.post(CHAT).mock(side_effect=never)
    client = client_of(Limits(request_timeout=0.1))
    with pytest.raises(UpstreamTimeoutError, match="within the time that a request may take"):
        await client.ask(ASK)
    assert client.admission.busy == 0


async def test_a_stream_ends_at_the_deadline(client_of: MakeClient, respx_mock: respx.MockRouter) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await asyncio.sleep(60)

    head = {"content-type": "text/event-stream; charset=utf-8"}
    respx_mock.post(CHAT).mock(return_value=httpx.Response(200, headers=head, content=parts()))
    client = client_of(Limits(request_timeout=0.3))
    answer = await client.ask(ASK)
    assert answer.is_stream
    chunks = answer.chunks()
    assert await anext(chunks) == b"data: 1\n\n"
    with pytest.raises(UpstreamTimeoutError):
        await anext(chunks)
    assert client.admission.busy == 0


async def test_an_answer_over_the_limit_is_refused(client_of: MakeClient, respx_mock: respx.MockRouter) -> None:
    respx_mock.post(CHAT).respond(200, content=b"x" * 101)
    client = client_of()
    answer = await client.ask(ASK)
    with pytest.raises(UpstreamError, match="over 100 bytes"):
        await answer.read(100)
    assert client.admission.busy == 0


async def test_connections_are_bounded_and_more_wait(client_of: MakeClient, respx_mock: respx.MockRouter) -> None:
    respx_mock.post(CHAT).respond(200, text="well")
    client = client_of(max_queued=1, max_connections=1)
    first = await client.ask(ASK)
    second = asyncio.create_task(told(client))
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await client.ask(ASK)
    assert not second.done()
    await first.aclose()
    assert await second == (200, b"well")


async def test_redirects_are_followed_on_the_same_host_only(
    client_of: MakeClient, respx_mock: respx.MockRouter
) -> None:
    later = respx_mock.get("https://big.example.com/v1/later?id=1").respond(200, text="well")
    respx_mock.post(CHAT).respond(303, headers={"location": "/v1/later?id=1"})
    assert await told(client_of(key="sk")) == (200, b"well")
    assert later.calls.last.request.headers["authorization"] == "Bearer sk"
    respx_mock.post(CHAT).respond(307, headers={"location": "https://elsewhere.example.com/"})
    with pytest.raises(UpstreamError, match="redirects to another host"):
        await client_of(key="sk").ask(ASK)


async def test_redirects_in_circles_end(client_of: MakeClient, respx_mock: respx.MockRouter) -> None:
    respx_mock.post(CHAT).respond(307, headers={"location": CHAT})
    with pytest.raises(UpstreamError, match="in circles"):
        await client_of().ask(ASK)
