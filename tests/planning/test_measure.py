"""What the meter asks for, against servers made up by respx; a real one is measured in the tests of the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
import respx

from ixmodal.errors import EngineError
from ixmodal.planning.measure import SpeedMeter

URL = "http://server/v1"


class MadeUpServer:
    """Streams as many tokens as it is asked for; may know no token ids."""

    def __init__(self, *, takes_ids: bool = True, counts: bool = True) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._takes_ids, self._counts = takes_ids, counts

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        is_text = isinstance(body["prompt"], str)
        if not is_text and not self._takes_ids:
            return httpx.Response(400, text="prompt must be a string")
        self.bodies.append(body)
        length = len(body["prompt"].split()) + 1 if is_text else len(body["prompt"])
        events: list[dict[str, Any]] = [{"choices": [{"text": "a"}]}] * body["max_tokens"]
        if self._counts:
            usage = {"prompt_tokens": length, "completion_tokens": body["max_tokens"]}
            events = [*events, {"choices": [], "usage": usage}]
        return httpx.Response(200, text="".join(f"data: {json.dumps(event)}\n\n" for event in events))


@pytest.fixture
def meter() -> Iterator[SpeedMeter]:
    with closing(SpeedMeter(URL, "m", "key")) as made:
        yield made


@pytest.mark.parametrize("takes_ids", [True, False])
def test_no_prompt_is_sent_twice_and_lengths_differ(
    meter: SpeedMeter, respx_mock: respx.MockRouter, takes_ids: bool
) -> None:
    server = MadeUpServer(takes_ids=takes_ids)
    respx_mock.post(f"{URL}/completions").mock(side_effect=server)
    speeds = meter.measure(3, batch_size=32, rounds=2, batches=False)
    assert len(speeds.decode_step_seconds) == 3
    prompts = [body["prompt"] for body in server.bodies]
    assert {isinstance(prompt, str) for prompt in prompts} == {not takes_ids}
    lengths = [len(prompt.split()) if isinstance(prompt, str) else len(prompt) for prompt in prompts]
    assert {1, 8, 16, 32, 192} <= set(lengths)
    long = [str(prompt) for prompt, length in zip(prompts, lengths, strict=True) if length >= 16]
    assert len(set(long)) == len(long)
    assert all(body["ignore_eos"] and body["stream_options"] == {"include_usage": True} for body in server.bodies)
    # A round: four lengths, a long one that goes on, and 1 + 2 + 3 streams; before all, the first that doesn't count.
    assert len(server.bodies) == 1 + 2 * (4 + 1 + 6)
    assert all(call.request.headers["authorization"] == "Bearer key" for call in respx_mock.calls)


def test_a_round_that_would_take_too_long_is_not_begun(meter: SpeedMeter, respx_mock: respx.MockRouter) -> None:
    server = MadeUpServer()
    respx_mock.post(f"{URL}/completions").mock(side_effect=server)
    meter.measure(1, batch_size=32, seconds=1e-9, rounds=5, batches=False)
    assert len(server.bodies) == 1 + 6


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (httpx.Response(401, text="who are you?"), "answered 401: who are you"),
        (httpx.Response(400, text="no such model"), "answered 400: no such model"),
        (httpx.ConnectError("refused"), "can't be measured: refused"),
        (MadeUpServer(counts=False), "ended without usage"),
    ],
)
def test_what_is_wrong_with_a_server_is_said(
    meter: SpeedMeter, respx_mock: respx.MockRouter, answer: Any, problem: str
) -> None:
    route = respx_mock.post(f"{URL}/completions")
    if isinstance(answer, httpx.Response):
        route.mock(return_value=answer)
    else:
        route.mock(side_effect=answer)
    with pytest.raises(EngineError, match=problem):
        meter.measure(2)
