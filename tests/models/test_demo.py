"""The model that ships in the package is small, loadable and in step with its sources."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

import ixmodal
from ixmodal.models.chat_template import ChatTemplate
from ixmodal.models.inspect import inspect
from tools.demo_model import phrasing, skills, words
from tools.demo_model.facts import TOPICS, Topic
from tools.demo_model.small_talk import INTENTS
from tools.demo_model.tool_data import GENERIC_QUESTIONS, HELD_OUT_GENERIC_QUESTIONS, NEEDS

DEMO = Path(ixmodal.__file__).parent / "models" / "demo"
TEMPLATE = Path(__file__).parents[2] / "tools" / "demo_model" / "chat_template.jinja"
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}


def test_it_is_small_and_has_a_card() -> None:
    assert (DEMO / "demo.gguf").stat().st_size <= 6_000_000
    assert "Apache-2.0" in (DEMO / "CARD.md").read_text(encoding="utf-8")


def test_it_says_what_it_is() -> None:
    model = inspect(DEMO / "demo.gguf")
    assert model.name == "ixmodal demo"
    assert model.context_length == 1024
    assert model.vocabulary.text_of(model.vocabulary.eos_id) == "<|im_end|>"
    assert model.vocabulary.add_bos


def test_its_template_is_the_one_it_was_trained_with() -> None:
    assert inspect(DEMO / "demo.gguf").chat_template == TEMPLATE.read_text(encoding="utf-8")


def test_its_template_writes_tools_calls_and_results() -> None:
    model = inspect(DEMO / "demo.gguf")
    assert model.chat_template is not None
    template = ChatTemplate(model.chat_template, model.vocabulary)
    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    messages = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]
    text = "".join(piece for piece in template.render(messages, [TOOL]) if isinstance(piece, str))
    assert '<tools>\n{"type": "function", "function": {"name": "get_weather"' in text
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>' in text
    assert "user\n<tool_response>\nsunny\n</tool_response>" in text
    assert text.endswith("assistant\n")


PHRASINGS = [
    (skills.SUMS, skills.HELD_OUT_SUMS),
    (skills.REPEATS, skills.HELD_OUT_REPEATS),
    (skills.NAME_TOLD, skills.HELD_OUT_NAME_TOLD),
    (skills.NAME_ASKED, skills.HELD_OUT_NAME_ASKED),
    (words.OUT_OF_RANGE, words.HELD_OUT_OUT_OF_RANGE),
    (GENERIC_QUESTIONS, HELD_OUT_GENERIC_QUESTIONS),
    *((intent.train, intent.held_out) for intent in INTENTS),
    *((need.train, need.held_out) for need in NEEDS),
]


def bare(texts: Iterable[str]) -> set[str]:
    return {" ".join(re.sub(r"[^\w\s{}+*'=]", " ", text.lower()).split()) for text in texts}


def as_trained(texts: Iterable[str]) -> set[str]:
    plain, openers, closers = bare(texts), bare(phrasing.OPENERS), bare(phrasing.CLOSERS)
    return plain | {f"{o} {t}" for o in openers for t in plain} | {f"{t} {c}" for t in plain for c in closers}


@pytest.mark.parametrize(("train", "held_out"), PHRASINGS)
def test_it_is_evaluated_on_phrasings_that_training_never_shows(
    train: tuple[str, ...], held_out: tuple[str, ...]
) -> None:
    assert not bare(held_out) & as_trained(train)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_its_facts_are_asked_in_new_words_too(topic: Topic) -> None:
    def questions(direct: tuple[str, ...], introductions: tuple[str, ...]) -> list[str]:
        return [*direct, *(i.replace("{clause}", c) for i in introductions for c in topic.clauses)]

    held_out = questions(topic.held_out, phrasing.HELD_OUT_INTRODUCTIONS)
    assert not bare(held_out) & as_trained(questions(topic.train, phrasing.INTRODUCTIONS))
    assert not set(topic.held_out_strangers) & {*topic.strangers, *topic.pairs}


def test_names_and_cities_are_held_out_too() -> None:
    assert not set(words.NAMES) & set(words.HELD_OUT_NAMES)
    assert not set(words.CITIES) & set(words.HELD_OUT_CITIES)
