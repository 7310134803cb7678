"""The pictures of docs/pages.md: `python -m tests.browser.screenshots`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, FilePayload, Page, ViewportSize, sync_playwright

from tests.browser.conftest import THINKING
from tests.browser.watched import FLAGS, WatchedPage
from tests.support.server import DEMO, ROOT, SCRIPTED, Server, serve

FOLDER = Path(ROOT, "docs", "images")
SIZE: ViewportSize = {"width": 1200, "height": 800}
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
ANSWER = """The first ten numbers of Fibonacci's sequence, each the sum of the **two before it**:

```python
def fibonacci(count):
    first, second = 0, 1
    for _ in range(count):
        yield first
        first, second = second, first + second

print(*fibonacci(10))
```

| n | number | ratio to the one before |
|--:|--:|--:|
| 8 | 21 | 1.615 |
| 9 | 34 | 1.619 |

The ratio nears the [golden one](https://en.wikipedia.org/wiki/Golden_ratio), `1.618…`"""
TURNS = [
    {"role": "user", "content": "Show me Fibonacci's numbers in Python, please."},
    {"role": "assistant", "content": ANSWER, "reasoning": "A generator is shortest.", "model": "coder"},
]


def shoot(page: Page, name: str) -> None:
    page.wait_for_timeout(300)
    page.screenshot(path=FOLDER / f"{name}.png")


def show_answer(browser: Browser, server: Server, name: str, **options: Any) -> None:
    """A conversation with code and a table, imported as a user would."""
    watched = WatchedPage(browser.new_context(reduced_motion="reduce", **options), server.url)
    watched.open()
    found = {"title": "Fibonacci's numbers", "messages": TURNS}
    content = json.dumps({"format": "ixmodal.conversations", "version": 1, "conversations": [found]})
    file: FilePayload = {"name": "x.json", "mimeType": "application/json", "buffer": content.encode()}
    watched.page.locator("#import-file").set_input_files([file])
    watched.page.locator(".row-open").dispatch_event("click")
    watched.page.locator(".code-frame").wait_for()
    watched.page.locator(".toast").evaluate_all("all => all.forEach((one) => one.remove())")
    shoot(watched.page, name)
    watched.close()


def show_chat(browser: Browser, server: Server) -> None:
    """Two questions to the model that ships."""
    watched = WatchedPage(browser.new_context(viewport=SIZE), server.url)
    watched.open()
    for question in ("What is the capital of France?", "What is the capital of Italy?"):
        watched.ask(question)
        watched.answer()
    watched.page.mouse.move(600, 600)
    shoot(watched.page, "chat")
    watched.page.get_by_role("button", name="Settings").click()
    shoot(watched.page, "settings")
    watched.close()


def show_status(browser: Browser, server: Server) -> None:
    """Under a little load."""
    watched = WatchedPage(browser.new_context(viewport=SIZE), server.url)
    watched.open("/status")
    for pause in (0.02, 0.01, 0.015, 0.005, 0.02, 0.01):
        text = f"!slow={pause} say:{'a long answer ' * 9}"
        body = {"model": "coder", "messages": [{"role": "user", "content": text}]}
        httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
    watched.page.wait_for_timeout(2500)
    shoot(watched.page, "status")
    watched.close()


def main() -> None:
    program = shutil.which("chromium")
    assert program, "this needs Chromium: apt-get install chromium"
    FOLDER.mkdir(exist_ok=True)
    models = [{"id": "coder", "slots": 4, "chat_template": THINKING}, {"id": "writer", "load": "request"}]
    scripted = {"IXMODAL_SPEC": json.dumps({"models": models})}
    with sync_playwright() as playwright, serve(DEMO) as demo, serve(SCRIPTED, scripted) as server:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        show_chat(browser, demo)
        show_answer(browser, server, "chat-dark", viewport=SIZE, color_scheme="dark")
        show_answer(browser, server, "chat-phone", **PHONE)
        show_status(browser, server)
        browser.close()


if __name__ == "__main__":
    main()
