"""Conversations, as people have them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.support.server import Server, wait_for

ENDLESS = "!forever !slow=0.02 say:more and"


def test_a_conversation_with_the_model_that_ships(demo: Server, open_page: OpenPage) -> None:
    watched = open_page(demo)
    page = watched.page
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Seed").fill("7")
    page.keyboard.press("Escape")
    watched.ask("What is the capital of France?")
    watched.says("The capital of France is Paris.")
    stats = watched.answer().locator(".stats")
    # No speed where all of a short answer arrived at once.
    expect(stats).to_have_text(
        re.compile(r"\d+ tokens( · [\d.]+ tokens/s)? · first after [\d.]+ s · context \d+ of 1,024")
    )
    watched.ask("What is the capital of Italy?")
    watched.says("The capital of Italy is Rome.")
    first, second = watched.asked
    assert (first["temperature"], first["seed"], "max_tokens" in first) == (0, 7, False)
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][1]["content"] == "The capital of France is Paris."


def test_an_answer_is_stopped_in_the_middle(two_models: Server, open_page: OpenPage) -> None:
    watched = open_page(two_models)
    watched.ask(ENDLESS)
    expect(watched.answers.last).to_contain_text("more and")
    assert two_models.health()["running"] == 1
    watched.page.get_by_role("button", name="Stop").click()
    expect(watched.answer()).to_contain_text("Stopped.")
    said = watched.answer().locator(".markdown").inner_text()
    assert said.startswith("more and")
    wait_for(lambda: two_models.health()["running"] == 0, 10)
    assert watched.answer().locator(".markdown").inner_text() == said
    expect(watched.page.get_by_label("Message", exact=True)).to_be_focused()
    watched.page.get_by_role("button", name="New chat").click()
    watched.ask("say:and on it goes")
    watched.says("and on it goes")


def test_a_reload_keeps_the_conversation(two_models: Server, open_page: OpenPage) -> None:
    watched = open_page(two_models)
    watched.ask("say:kept")
    watched.says("kept")
    watched.page.reload()
    watched.ready()
    watched.says("kept")
    expect(watched.page.locator(".message.user")).to_have_text("say:kept")
    expect(watched.page.locator(".row")).to_have_count(1)


def test_a_reload_in_the_middle_keeps_what_came(two_models: Server, open_page: OpenPage) -> None:
    watched = open_page(two_models)
    watched.ask(ENDLESS)
    expect(watched.answers.last).to_contain_text("more andmore")
    watched.page.wait_for_timeout(1200)  # what comes is kept once a second
    watched.page.reload()
    watched.ready()
    expect(watched.answer()).to_contain_text("more and")
    expect(watched.answer()).to_contain_text("Interrupted")
    wait_for(lambda: two_models.health()["running"] == 0, 10)


def test_an_answer_goes_on_while_another_conversation_is_looked_at(two_models: Server, open_page: OpenPage) -> None:
    watched = open_page(two_models)
    watched.ask("!slow=0.03 say:this one takes a while to say")
    watched.page.get_by_role("button", name="New chat").click()
    expect(watched.page.locator(".message")).to_have_count(0)
    watched.ask("say:quick")
    watched.says("quick")
    watched.page.get_by_role("button", name="!slow=0.03", exact=False).first.click()
    watched.says("this one takes a while to say")
    expect(watched.answer().locator(".stats")).to_have_text(re.compile(r"· [\d.]+ tokens/s ·"))


def test_a_message_is_edited_and_an_answer_made_again(two_models: Server, open_page: OpenPage) -> None:
    watched = open_page(two_models)
    page = watched.page
    watched.ask("say:one")
    watched.says("one")
    watched.ask("say:two")
    watched.says("two")
    page.get_by_role("button", name="Edit and send again").first.click()
    page.get_by_label("Edit your message").fill("say:three")
    page.keyboard.press("Enter")
    watched.says("three")
    expect(page.locator(".message")).to_have_count(2)
    page.get_by_role("button", name="Answer again").click()
    watched.says("three")
    expect(page.locator(".message")).to_have_count(2)
    assert [request["messages"] for request in watched.asked[2:]] == [[{"role": "user", "content": "say:three"}]] * 2
    page.get_by_role("button", name="Edit and send again").click()
    page.keyboard.press("Escape")
    expect(page.locator(".own-text")).to_have_text("say:three")


def test_the_model_is_switched(two_models: Server, open_page: OpenPage) -> None:
    watched = open_page(two_models)
    expect(watched.page.locator("#model-state")).to_have_text("ready")
    watched.ask("say:a")
    expect(watched.answer().locator(".message-who")).to_have_text("first")
    watched.page.get_by_label("Model").select_option("second")
    watched.ask("say:b")
    expect(watched.answer().locator(".message-who")).to_have_text("second")
    assert [request["model"] for request in watched.asked] == ["first", "second"]
    watched.page.reload()
    watched.ready()
    expect(watched.page.get_by_label("Model")).to_have_value("second")


def test_the_system_prompt_is_sent_and_belongs_to_its_conversation(two_models: Server, open_page: OpenPage) -> None:
    watched = open_page(two_models)
    watched.page.get_by_role("button", name="Settings").click()
    watched.page.get_by_label("System prompt").fill("Be brief.")
    watched.page.get_by_role("button", name="Close the settings").click()
    watched.ask("say:a")
    watched.says("a")
    assert watched.asked[0]["messages"][0] == {"role": "system", "content": "Be brief."}


def test_thought_is_folded_away(two_models: Server, open_page: OpenPage) -> None:
    watched = open_page(two_models)
    watched.page.get_by_label("Model").select_option("second")
    watched.ask("say:<think>is it two?</think>two")
    watched.says("two")
    thought = watched.answer().locator(".thought-text")
    expect(thought).to_be_hidden()
    watched.answer().get_by_text("Thought", exact=True).click()
    expect(thought).to_have_text("is it two?")


def test_a_failed_answer_says_what_to_do(keyed: Server, open_page: OpenPage) -> None:
    """Without a key, with a wrong one, while the only slot is busy, and with an engine that fails."""
    watched, other = open_page(keyed, ready=False), open_page(keyed, ready=False)
    watched.expected = other.expected = ("401", "429", "500")
    watched.open()
    page = watched.page
    expect(page.get_by_role("alert")).to_contain_text("API key")
    page.get_by_role("button", name="Enter key").click()
    expect(page.get_by_label("API key")).to_be_focused()
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Incorrect API key provided. Enter a valid API key in the settings.")).to_be_attached()
    page.get_by_label("API key").fill("right")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Model")).to_be_enabled()
    assert page.evaluate("[sessionStorage['ixmodal.key'], localStorage['ixmodal.key'] ?? null]") == ["right", None]

    other.open()
    other.page.evaluate("sessionStorage['ixmodal.key'] = 'right'")
    other.page.reload()
    other.ready()
    other.ask(ENDLESS)
    expect(other.answers.last).to_contain_text("more")
    watched.ask("say:too much")
    expect(watched.answer().locator(".problem")).to_contain_text(re.compile(r"Try again in \d+ seconds\."))
    other.page.keyboard.press("Escape")
    expect(other.answer()).to_contain_text("Stopped.")
    wait_for(lambda: keyed.health()["running"] == 0, 10)
    page.get_by_role("button", name="Answer again").click()
    watched.says("too much")
    page.get_by_role("button", name="New chat").click()
    watched.ask("!fail")
    expect(watched.answer().locator(".problem")).to_contain_text("this forward fails")


def test_conversations_are_named_exported_deleted_and_imported(
    two_models: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    watched = open_page(two_models)
    page = watched.page
    watched.ask("say:precious")
    watched.says("precious")
    page.get_by_role("button", name="Rename say:precious").click()
    page.get_by_label("New name").fill("Jewels")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Jewels")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export all").click()
    file = tmp_path / "conversations.json"
    download.value.save_as(file)
    assert [found["title"] for found in json.loads(file.read_text("utf-8"))["conversations"]] == ["Jewels"]
    page.get_by_role("button", name="Delete Jewels").click()
    page.get_by_role("button", name="Really delete Jewels?").click()
    expect(page.locator(".row")).to_have_count(0)
    expect(page.locator(".message")).to_have_count(0)
    page.locator("#import-file").set_input_files(file)
    page.get_by_role("button", name="Jewels", exact=True).click()
    watched.says("precious")
    file.write_text("{}")
    page.locator("#import-file").set_input_files(file)
    expect(page.get_by_text("This file holds no conversations that were exported here.")).to_be_visible()


def test_code_is_copied(two_models: Server, open_page: OpenPage) -> None:
    watched = open_page(two_models, permissions=["clipboard-read", "clipboard-write"])
    watched.ask("say:here: `code` and    ")
    watched.says("here: code and")
    watched.answer().get_by_role("button", name="Copy text").click()
    expect(watched.answer().get_by_role("button", name="Copied")).to_be_visible()
    assert watched.page.evaluate("navigator.clipboard.readText()") == "here: `code` and"
