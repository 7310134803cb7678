"""The status page: what it shows to whom, and where something is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import OpenPage
from tests.support.server import SCRIPTED, Server, serve

METRICS = """
# TYPE ixmodal_time_to_first_token_seconds histogram
ixmodal_time_to_first_token_seconds_bucket{{model="a",le="0.1"}} {0}
ixmodal_time_to_first_token_seconds_bucket{{model="a",le="0.2"}} {1}
ixmodal_time_to_first_token_seconds_bucket{{model="a",le="+Inf"}} {1}
ixmodal_e2e_seconds_bucket{{model="a",le="1.0"}} 0
ixmodal_e2e_seconds_bucket{{model="a",le="+Inf"}} 0
"""


@pytest.fixture(scope="module")
def lazy() -> Iterator[Server]:
    """One model that is there, and one that is loaded for the first request."""
    models = [{"id": "warm", "slots": 3}, {"id": "lazy", "load": "request"}]
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps({"models": models})}) as server:
        yield server


def test_models_are_shown_loaded_and_unloaded(lazy: Server, open_page: OpenPage) -> None:
    watched = open_page(lazy, "/status")
    page = watched.page
    expect(page.locator("#server-state")).to_have_text("ok")
    warm, other = page.get_by_role("row", name="warm"), page.get_by_role("row", name="lazy")
    expect(warm).to_contain_text(re.compile(r"ready.*0 of 3.*MiB", re.DOTALL))
    expect(other).to_contain_text("cold")
    page.get_by_role("button", name="Load lazy").click()
    expect(other).to_contain_text("ready", timeout=20_000)
    page.get_by_role("button", name="Unload lazy").click()
    expect(other).to_contain_text("cold")


def test_slots_tokens_and_latencies_are_shown(lazy: Server, open_page: OpenPage) -> None:
    watched = open_page(lazy, "/status")
    body = {"model": "warm", "stream": True, "messages": [{"role": "user", "content": "!forever !slow=0.02 say:x"}]}
    with httpx.stream("POST", f"{lazy.url}/v1/chat/completions", json=body, timeout=30) as answer:
        assert answer.status_code == 200
        expect(watched.page.get_by_role("row", name="warm")).to_contain_text("1 of 3", timeout=10_000)
        running = watched.page.get_by_role("img", name="Running: latest 1, most 1")
        expect(running).to_be_visible(timeout=10_000)
    whole = {"model": "warm", "messages": [{"role": "user", "content": "say:a whole one"}]}
    assert httpx.post(f"{lazy.url}/v1/chat/completions", json=whole, timeout=30).status_code == 200
    for name in ("First token, median", "Whole request, 95th percentile"):
        drawn = watched.page.get_by_role("img", name=re.compile(rf"{name}: latest [\d.]+ m?s"))
        expect(drawn).to_be_visible(timeout=10_000)


def test_a_cold_model_is_loaded_from_the_chat(lazy: Server, open_page: OpenPage) -> None:
    watched = open_page(lazy)
    page = watched.page
    page.get_by_label("Model").select_option("lazy")
    expect(page.locator("#model-state")).to_have_text("cold")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator("#model-state")).to_have_text("ready", timeout=20_000)
    watched.ask("say:awake")
    watched.says("awake")
    assert httpx.post(f"{lazy.url}/models/unload", json={"model": "lazy"}).status_code == 200


def test_a_model_on_its_way_shows_how_far_it_is(lazy: Server, open_page: OpenPage) -> None:
    watched = open_page(lazy, ready=False)
    model: dict[str, Any] = {"id": "big", "object": "model", "created": 1, "owned_by": "x", "status": "pulling"}
    run_time: dict[str, Any] = {"state": "pulling", "progress": {"bytes": 42, "total_bytes": 100, "percent": 42}}
    page = watched.page
    page.route(f"{lazy.url}/v1/models", lambda route: route.fulfill(json={"data": [model]}))
    page.route(f"{lazy.url}/models", lambda route: route.fulfill(json={"data": [model | {"run_time": run_time}]}))
    watched.open()
    expect(page.locator("#model-state")).to_have_text("pulling 42%")
    run_time |= {"state": "loading", "progress": None}
    expect(page.locator("#model-state")).to_have_text("loading")
    model["status"] = run_time["state"] = "ready"
    expect(page.locator("#model-state")).to_have_text("ready")


def test_latencies_are_what_came_since_the_last_look(lazy: Server, open_page: OpenPage) -> None:
    watched = open_page(lazy, ready=False)
    looks = iter([(5, 5), (5, 15), *[(5, 15)] * 50])

    def answer(route: Route) -> None:
        route.fulfill(body=METRICS.format(*next(looks)), content_type="text/plain; version=0.0.4")

    watched.page.route("**/metrics", answer)
    watched.open("/status")
    # Ten between 0.1 and 0.2 seconds: the median lies in the middle of them.
    expect(watched.page.locator("#latency-figures")).to_contain_text("First token, median150 ms", timeout=10_000)
    expect(watched.page.get_by_role("img", name="Whole request, median: no values yet")).to_be_visible()


@pytest.mark.parametrize(
    ("status", "told"),
    [(404, "This server has no /metrics"), (403, "/metrics is not open to this page: Admins only.")],
)
def test_without_metrics_it_says_so(lazy: Server, open_page: OpenPage, status: int, told: str) -> None:
    watched = open_page(lazy, ready=False)
    watched.expected = ("/metrics",)
    error = {"error": {"message": "Admins only.", "type": "x", "param": None, "code": None}}
    watched.page.route("**/metrics", lambda route: route.fulfill(status=status, json=error))
    watched.open("/status")
    expect(watched.page.get_by_text(told)).to_be_visible()
    expect(watched.page.locator("#latency-figures")).to_be_hidden()


def test_without_a_key_it_shows_states_and_asks_for_one(keyed: Server, open_page: OpenPage) -> None:
    watched = open_page(keyed, ready=False)
    watched.expected = ("401",)
    watched.open("/status")
    page = watched.page
    expect(page.locator("#health-states")).to_contain_text("demo")
    expect(page.get_by_role("table")).to_have_count(0)
    page.get_by_label("An API key shows more").fill("right")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("row", name="demo")).to_contain_text("ready")
    expect(page.locator("#key-form")).to_be_hidden()


def test_a_server_that_is_gone_is_told(open_page: OpenPage) -> None:
    with serve(SCRIPTED) as server:
        watched = open_page(server, ready=False)
        watched.expected = ("ERR_CONNECTION_REFUSED",)
        watched.open("/status")
        expect(watched.page.locator("#server-state")).to_have_text("ok")
    expect(watched.page.get_by_role("alert")).to_contain_text("can't be reached", timeout=10_000)
    expect(watched.page.locator("#server-state")).to_have_text("unreachable")
