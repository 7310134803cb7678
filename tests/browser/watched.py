"""A page of the server in a browser, and everything that it should not have done."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Request, expect

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_LISTEN = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`));
"""


class WatchedPage:
    """Notes console errors, exceptions, violations of the policy, and requests to other hosts as `complaints`."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.complaints: list[str] = []
        self.expected: tuple[str, ...] = ()
        self.asked: list[dict[str, Any]] = []
        self._context = context
        self.page = context.new_page()
        self.page.add_init_script(_LISTEN)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("request", self._see)

    def _hear(self, message: ConsoleMessage) -> None:
        text = f"{message.type}: {message.text} {message.location.get('url', '')}"
        if message.type in ("error", "warning") and not any(part in text for part in self.expected):
            self.complaints.append(text)

    def _see(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and not request.url.startswith(f"{self.url}/"):
            self.complaints.append(f"asked another host: {request.url}")
        if parts.path == "/v1/chat/completions":
            body: Any = request.post_data_json
            self.asked.append(body)

    def open(self, path: str = "/") -> None:
        """Go there, and wait until the page has asked what is served."""
        self.page.goto(f"{self.url}{path}")
        self.ready()

    def ready(self) -> None:
        """Wait until the page has heard from the server."""
        self.page.wait_for_selector("body[data-ready]")

    def close(self) -> None:
        """Close the profile, and take note of what the policy had to stop."""
        self.complaints += self.page.evaluate("window.violations")
        self._context.close()

    def ask(self, text: str) -> None:
        """Write a message and send it by Enter."""
        self.page.get_by_label("Message", exact=True).fill(text)
        self.page.keyboard.press("Enter")

    def answer(self) -> Locator:
        """The last answer, which is whole."""
        expect(self.page.locator("#stop")).to_be_hidden(timeout=20_000)
        return self.answers.last

    @property
    def answers(self) -> Locator:
        """All answers."""
        return self.page.locator(".message.assistant")

    def says(self, text: str) -> None:
        """The last answer is just this."""
        expect(self.answer().locator(".markdown")).to_have_text(text)

    def width_is_held(self) -> None:
        """Nothing can be scrolled sideways."""
        script = "[document.documentElement.scrollWidth, document.body.scrollWidth, window.innerWidth]"
        root, body, window = self.page.evaluate(script)
        assert max(root, body) <= window, (root, body, window)
