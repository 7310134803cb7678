"""For everybody: by keyboard, on a phone, in the dark, by screen reader."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.watched import WatchedPage
from tests.support.server import Server

PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
LONG = "say:" + "w" * 300 + " `" + "c" * 300 + "` https://example.com/" + "x" * 200


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the control of that name has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        found = page.evaluate(
            "(e => e.getAttribute('aria-label') ?? e.labels?.[0]?.textContent ?? e.textContent)(document.activeElement)"
        )
        if found.strip() == name:
            return
    raise AssertionError(f"Tab never reached {name}")


def serious(watched: WatchedPage, axe: str) -> list[str]:
    """What axe-core finds of serious or critical impact."""
    watched.page.evaluate(axe)
    found = watched.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def test_a_conversation_by_keyboard_alone(two_models: Server, open_page: OpenPage) -> None:
    watched = open_page(two_models)
    page = watched.page
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.keyboard.type("say:first line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("say:by keys")
    page.keyboard.press("Enter")
    watched.says("by keys")
    assert watched.asked[0]["messages"][0]["content"] == "say:first line\nsay:by keys"
    page.keyboard.type("!forever !slow=0.02 say:on ")
    page.keyboard.press("Enter")
    expect(watched.answers.last).to_contain_text("onon")
    page.keyboard.press("Escape")
    expect(watched.answer()).to_contain_text("Stopped.")
    tab_to(page, "Skip to the message field")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    tab_to(page, "Settings")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Settings")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Settings")).to_be_focused()
    tab_to(page, "Edit and send again")
    page.keyboard.press("Enter")
    page.keyboard.press("Control+A")
    page.keyboard.type("say:edited")
    page.keyboard.press("Enter")
    watched.says("edited")
    page.keyboard.press("Control+Shift+O")
    expect(page.locator(".message")).to_have_count(0)
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def test_a_screen_reader_hears_sentences_and_the_end(two_models: Server, open_page: OpenPage) -> None:
    watched = open_page(two_models)
    watched.page.evaluate(
        """() => {
          window.heard = [];
          const note = () => window.heard.push(document.querySelector("#announcer").textContent);
          new MutationObserver(note).observe(document.querySelector("#announcer"), { childList: true });
        }"""
    )
    watched.ask("!slow=0.1 say:A first sentence is here. And then")
    watched.says("A first sentence is here. And then")
    expect(watched.page.locator("#announcer")).to_contain_text("End of the answer.")
    heard = watched.page.evaluate("window.heard")
    assert heard[0] == "Answering."
    assert heard[-1].endswith("And then End of the answer.")
    assert " ".join(heard[1:]).count("A first sentence is here.") == 1
    assert len(heard) <= 4


def test_on_a_phone_nothing_scrolls_sideways(two_models: Server, open_page: OpenPage) -> None:
    watched = open_page(two_models, **PHONE)
    page = watched.page
    watched.width_is_held()
    watched.ask(LONG)
    watched.answer()
    watched.width_is_held()
    expect(page.get_by_role("button", name="New chat")).to_have_count(0)
    page.get_by_role("button", name="Conversations", exact=True).tap()
    expect(page.get_by_role("button", name="New chat")).to_be_focused()
    watched.width_is_held()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Conversations", exact=True)).to_be_focused()
    page.get_by_role("button", name="Settings").tap()
    expect(page.get_by_role("dialog", name="Settings")).to_be_visible()
    watched.width_is_held()
    for name in ("Conversations", "Settings"):
        box = page.locator(f"[aria-label='{name}']").last.bounding_box()
        assert box
        assert min(box["width"], box["height"]) >= 40, name
    watched.open("/status")
    watched.width_is_held()


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_colours_follow_the_system_until_some_are_chosen(
    two_models: Server, open_page: OpenPage, scheme: str, is_dark: bool
) -> None:
    watched = open_page(two_models, color_scheme=scheme)
    page = watched.page

    def looks_dark() -> bool:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) < 3 * 128

    assert looks_dark() is is_dark
    button = page.get_by_role("button", name="Theme:")
    button.click()
    expect(button).to_have_text("Theme: light")
    assert looks_dark() is False
    button.click()
    assert looks_dark() is True
    page.reload()
    watched.ready()
    assert looks_dark() is True
    button.click()
    assert looks_dark() is is_dark


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, PHONE], ids=["desktop", "dark", "phone"])
def test_axe_finds_nothing_serious(two_models: Server, open_page: OpenPage, axe: str, options: dict[str, Any]) -> None:
    watched = open_page(two_models, **options)
    page = watched.page
    assert serious(watched, axe) == []
    page.get_by_label("Model").select_option("second")
    watched.ask("say:<think>a</think>**b** `c` [d](https://example.com)")
    watched.says("b c d")
    watched.ask("!forever !slow=0.02 say:x")
    expect(watched.answers.last).to_contain_text("xx")
    assert serious(watched, axe) == []
    page.keyboard.press("Escape")
    expect(watched.answer()).to_contain_text("Stopped.")
    page.get_by_role("button", name="Edit and send again").last.click()
    assert serious(watched, axe) == []
    page.get_by_role("button", name="Settings").click()
    assert serious(watched, axe) == []
    page.keyboard.press("Escape")
    if options is PHONE:
        page.get_by_role("button", name="Conversations", exact=True).tap()
        assert serious(watched, axe) == []
    watched.open("/status")
    assert serious(watched, axe) == []
