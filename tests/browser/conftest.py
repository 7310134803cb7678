"""Debian's Chromium, driven by playwright. Where something is missing these tests fail; they are never skipped."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.watched import FLAGS, WatchedPage
from tests.support.server import SCRIPTED, Server, serve

AXE = Path(__file__).parent / "axe"
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}{# <think> #}"
)
OpenPage = Callable[..., WatchedPage]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    assert program, "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens a server's page in a new profile; in the end each must have been silent and asked no other host."""
    opened: list[WatchedPage] = []

    def open_page(server: Server, path: str = "/", *, ready: bool = True, **options: Any) -> WatchedPage:
        watched = WatchedPage(browser.new_context(**{"reduced_motion": "reduce", **options}), server.url)
        opened.append(watched)
        if ready:
            watched.open(path)
        return watched

    yield open_page
    for watched in opened:
        watched.close()
    for watched in opened:
        assert watched.complaints == []


@pytest.fixture(scope="session")
def two_models() -> Iterator[Server]:
    """A scripted server of two models; the second one's template lets it think."""
    models = [{"id": "first", "slots": 2}, {"id": "second", "chat_template": THINKING}]
    spec = {"models": models}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        yield server


@pytest.fixture(scope="session")
def keyed() -> Iterator[Server]:
    """A scripted server with one key, one slot and no queue."""
    spec = {"models": [{"id": "demo", "slots": 1}], "endpoint": {"api_keys": ["right"], "max_queued": 0}}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        yield server


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core."""
    folder = tmp_path_factory.mktemp("axe")
    shutil.copytree(AXE, folder, dirs_exist_ok=True)
    done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"npm ci failed; these tests need npm:\n{done.stderr}"
    return (folder / "node_modules/axe-core/axe.min.js").read_text("utf-8")
