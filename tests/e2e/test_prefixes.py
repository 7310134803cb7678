"""What need not be read again, through the real server over the real library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests.support.server import DEMO, serve

SYSTEM = {"role": "system", "content": "You are a helpful assistant. " * 12}


@contextmanager
def served(state: Path, engine: str, **fields: Any) -> Iterator[OpenAI]:
    model = {"id": "demo", "engine": engine, **fields}
    env = {"IXMODAL_SPEC": json.dumps({"models": [model]}), "XDG_STATE_HOME": str(state)}
    with serve(DEMO, env) as server:
        with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            yield client
        assert server.stop() == 0


def ask(client: OpenAI, question: str, **fields: Any) -> tuple[list[str], int, int]:
    """The answers, the tokens of the prompt, and how many of them were not read."""
    messages: list[Any] = [SYSTEM, {"role": "user", "content": question}]
    answer = client.chat.completions.create(model="demo", messages=messages, temperature=0, max_tokens=8, **fields)
    assert answer.usage
    assert answer.usage.prompt_tokens_details
    cached = answer.usage.prompt_tokens_details.cached_tokens or 0
    return [choice.message.content or "" for choice in answer.choices], answer.usage.prompt_tokens, cached


def told(client: OpenAI, question: str) -> str:
    return ask(client, question)[0][0]


NAMES = ("Henry", "Paul", "Nick", "Anna", "Bob")
QUESTIONS = [f"Hello, I am {name}. " * 12 + "What is my name?" for name in NAMES]
"""The model is sure of its answers to these, so that the last bits of a batch don't decide."""


@pytest.fixture(scope="module")
def engine() -> str:
    """The library; `tests/llama_cpp` runs the same with another."""
    return "ctransformers"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, engine: str) -> list[str]:
    """What is said where nothing is reused but a slot's own tokens of the system prompt."""
    with served(tmp_path_factory.mktemp("alone"), engine, slots=1, memory_cache_mib=0) as client:
        found = [told(client, question) for question in QUESTIONS]
    assert all(name in text for name, text in zip(NAMES, found, strict=True))
    return found


def test_what_comes_together_reads_the_system_prompt_once(tmp_path: Path, engine: str, alone: list[str]) -> None:
    with served(tmp_path, engine, slots=5) as client, ThreadPoolExecutor(5) as pool:
        found = list(pool.map(lambda question: ask(client, question), QUESTIONS))
    assert [texts[0] for texts, _, _ in found] == alone
    cached = sorted(count for _, _, count in found)
    assert cached[0] == 0
    assert cached[1] >= 60  # the tokens of the system prompt


def test_choices_read_their_prompt_once(tmp_path: Path, engine: str, alone: list[str]) -> None:
    with served(tmp_path, engine, slots=4) as client:
        texts, length, _ = ask(client, QUESTIONS[0], n=4)
        _, _, again = ask(client, QUESTIONS[0])
    assert texts == [alone[0]] * 4
    assert again == length - 1


def test_more_conversations_than_slots_each_go_on(tmp_path: Path, engine: str, alone: list[str]) -> None:
    with served(tmp_path, engine, slots=2, memory_cache_mib=100) as client:
        first = [ask(client, question) for question in QUESTIONS]
        again = [ask(client, question) for question in QUESTIONS]
    assert [texts[0] for texts, _, _ in first] == [texts[0] for texts, _, _ in again] == alone
    assert all(cached == length - 1 for _, length, cached in again)


def test_conversations_outlive_the_server(tmp_path: Path, engine: str) -> None:
    outlive(tmp_path, engine)


def outlive(tmp_path: Path, engine: str, **others: Any) -> None:
    """Three conversations over a restart, one of their files damaged, and over a change of the slots."""
    fields: dict[str, Any] = {"slots": 2, "disk_cache_mib": 100, **others}
    with served(tmp_path, engine, **fields) as client:
        first = [told(client, question) for question in QUESTIONS[:3]]
    files = list((tmp_path / "ixmodal").glob("*/prefixes/demo/*.state"))
    assert len(files) == 3
    files[0].write_bytes(files[0].read_bytes()[:-1] + b"\0\1")
    with served(tmp_path, engine, **fields) as client:
        again = [ask(client, question) for question in QUESTIONS[:3]]
    assert [texts[0] for texts, _, _ in again] == first
    assert sum(cached == length - 1 for _, length, cached in again) == 2  # all but the one that was damaged
    with served(tmp_path, engine, **{**fields, "slots": 3}) as client:  # another layout
        assert ask(client, QUESTIONS[0])[2] == 0


TURNS = (
    "Hi, my name is Anna.",
    "What is my name?",
    "What is 2 + 3?",
    "What is the capital of France?",
    "Who are you?",
    "Tell me a joke.",
    "What is 4 + 4?",
    "How are you today?",
    "What day is it?",
    "What is my name?",
)


def test_of_a_chat_of_ten_turns_only_the_new_turn_is_read(tmp_path: Path, engine: str) -> None:
    messages: list[Any] = []
    held = 0
    with served(tmp_path, engine) as client:
        for turn in TURNS:
            messages.append({"role": "user", "content": turn})
            answer = client.chat.completions.create(model="demo", messages=messages, temperature=0, max_tokens=40)
            assert answer.usage
            assert answer.usage.prompt_tokens_details
            assert answer.usage.prompt_tokens_details.cached_tokens == held
            held = answer.usage.total_tokens - 1  # the token that ended the answer was never evaluated
            messages.append({"role": "assistant", "content": answer.choices[0].message.content})
    assert held > 200


def test_a_state_is_of_no_use_to_another_context(tmp_path: Path, engine: str) -> None:
    fields: dict[str, Any] = {"slots": 1, "disk_cache_mib": 100}
    with served(tmp_path, engine, **fields) as client:
        ask(client, QUESTIONS[0])
    with served(tmp_path, engine, **fields, context_length=512) as client:
        assert ask(client, QUESTIONS[0])[2] == 0
