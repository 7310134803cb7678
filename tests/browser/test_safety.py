"""What a model writes stays text, and the policy stands behind that."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.support.server import Server

RUNS = "document.title='owned';window.owned=1"


@pytest.mark.parametrize(
    "said",
    [
        f"<img src=x onerror={RUNS}>",
        f"<script>{RUNS}</script>",
        f"<svg onload={RUNS}>",
        f"<svg><script>{RUNS}</script></svg>",
        '<iframe srcdoc="<script>parent.owned=1</script>"></iframe>',
        f'<a href="javascript:{RUNS}">x</a>',
        f"[x](javascript:{RUNS})",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](vbscript:msgbox)",
        f'<div style="background:url(https://evil.example/)" onclick={RUNS}>x</div>',
        '<link rel=stylesheet href="https://evil.example/x.css">',
        '<form action="https://evil.example/"><input name=password></form>',
        '<math><mtext><table><mglyph><style><img src=x onerror="window.owned=1">',
        '<input autofocus onfocus="window.owned=1">',
    ],
)
def test_markup_in_an_answer_stays_text(two_models: Server, open_page: OpenPage, said: str) -> None:
    watched = open_page(two_models)
    watched.ask(f"say:{said}")
    watched.says(said)
    shown = watched.answer().locator(".markdown")
    assert shown.evaluate("shown => [...shown.querySelectorAll('*')].map(one => one.localName)") == ["p"]
    assert watched.page.evaluate("window.owned ?? null") is None
    # The user's own words, which are the title too, are no other.
    expect(watched.page.locator(".own-text")).to_have_text(f"say:{said}")
    assert watched.page.title() != "owned"


def test_an_image_is_a_link_and_is_not_loaded(two_models: Server, open_page: OpenPage) -> None:
    watched = open_page(two_models)
    watched.ask("say:![a cat](https://evil.example/cat.png) and [more](https://evil.example/more)")
    watched.says("a cat and more")
    links = watched.answer().locator(".markdown a")
    expect(links).to_have_count(2)
    for link in links.all():
        expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
        expect(link).to_have_attribute("target", "_blank")
    expect(watched.answer().locator("img")).to_have_count(0)


def test_markdown_is_shown_as_it_is_meant(two_models: Server, open_page: OpenPage) -> None:
    watched = open_page(two_models)
    watched.ask("say:**bold** `a < b` ~~gone~~ https://example.com &amp;")
    watched.says("bold a < b gone https://example.com &")
    for tag in ("strong", "code", "del", "a"):
        expect(watched.answer().locator(f".markdown {tag}")).to_have_count(1)


def test_blocks_of_markdown(two_models: Server, open_page: OpenPage) -> None:
    """The module itself, as the script says one line only: code, tables, lists, and text that grows."""
    watched = open_page(two_models, permissions=["clipboard-read", "clipboard-write"])
    text = "# Top\n\n```python\nprint('<b>')\n```\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n- [x] done\n1. one\n"
    shown = watched.page.evaluate(
        """async (text) => {
          const { MarkdownView } = await import("/web/js/markdown.js");
          const view = new MarkdownView();
          document.querySelector("#messages").append(view.element);
          for (let end = 1; end <= text.length; end++) view.show(text.slice(0, end));
          const whole = new MarkdownView();
          whole.show(text);
          return [view.element.innerHTML, whole.element.innerHTML];
        }""",
        text,
    )
    assert shown[0] == shown[1]
    block = watched.page.locator(".code-frame")
    expect(block.locator("code")).to_have_text("print('<b>')\n")
    expect(block.locator(".code-head")).to_contain_text("python")
    expect(watched.page.locator(".markdown h3")).to_have_text("Top")
    expect(watched.page.locator(".markdown td").last).to_have_attribute("align", "right")
    expect(watched.page.locator(".markdown li").first).to_have_text("☑ done")
    block.get_by_role("button", name="Copy code").click()
    expect(block.get_by_text("Copied")).to_be_visible()
    assert watched.page.evaluate("navigator.clipboard.readText()") == "print('<b>')\n"


def test_the_policy_stops_what_would_get_through(two_models: Server, open_page: OpenPage) -> None:
    """That no violation is noted elsewhere means something only if one would be."""
    watched = open_page(two_models)
    watched.expected = ("Content Security Policy", "TrustedHTML", "Trusted")
    found = watched.page.evaluate(
        """async () => {
          const script = document.createElement("script");
          script.append("window.owned = 1");
          try { document.body.append(script); } catch {}
          const image = new Image();
          image.src = "https://evil.example/x.png";
          const reached = await fetch("https://evil.example/").then(() => true, () => false);
          let wrote = true;
          try { document.body.innerHTML += "<p>"; } catch { wrote = false; }
          await new Promise((resolve) => setTimeout(resolve, 200));
          const seen = window.violations.map((one) => one.split(":")[0]);
          window.violations = [];
          return { owned: window.owned ?? null, reached, wrote, seen };
        }"""
    )
    assert (found["owned"], found["reached"], found["wrote"]) == (None, False, False)
    assert {"img-src", "connect-src", "require-trusted-types-for"} <= set(found["seen"])
    watched.complaints = [text for text in watched.complaints if "evil.example" not in text]
