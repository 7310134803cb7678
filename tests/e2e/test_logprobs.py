"""Log-probabilities against those computed from the library's own logits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import OpenAI

from ixmodal.backends.base import Chunk, LoadParams
from ixmodal.backends.ctransformers import CtransformersBackend
from tests.e2e.test_openai_sdk import ANSWER, QUESTION

DEMO = Path(__file__).parents[2] / "ixmodal/models/demo/demo.gguf"


@pytest.fixture(scope="module")
def library() -> Iterator[CtransformersBackend]:
    backend = CtransformersBackend(LoadParams(str(DEMO), None, 1, 64, 1, 0, mmap=True, mlock=False))
    yield backend
    backend.close()


@pytest.fixture
def lenient(client: OpenAI) -> Iterator[OpenAI]:
    """The SDK without strict validation: its types don't know that a prompt's first token has no log-probability."""
    with OpenAI(base_url=client.base_url, api_key="none", max_retries=0) as found:
        yield found


def direct(library: CtransformersBackend, ids: list[int]) -> list[float]:
    """Log-probability of each id but the first, given those before it: one evaluation an id."""
    found = []
    for at in range(len(ids) - 1):
        library.forward([Chunk(0, ids[at : at + 1], at)])
        logits = library.logits(0).astype(np.float64)
        found.append(float(logits[ids[at + 1]] - logits.max() - np.log(np.exp(logits - logits.max()).sum())))
    return found


def test_chat_logprobs(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": QUESTION}], temperature=0, logprobs=True, top_logprobs=3
    )
    shown = answer.choices[0].logprobs
    assert shown is not None
    assert shown.content is not None
    assert b"".join(bytes(entry.bytes or []) for entry in shown.content).decode() == ANSWER
    for entry in shown.content:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == max(other.logprob for other in entry.top_logprobs)  # greedy
        assert sum(math.exp(other.logprob) for other in entry.top_logprobs) <= 1.0001


def test_streamed_logprobs_are_the_same(client: OpenAI) -> None:
    fields: dict[str, Any] = {
        "model": "demo",
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "logprobs": True,
    }
    whole = client.chat.completions.create(**fields).choices[0].logprobs.content
    streamed = [
        entry
        for chunk in client.chat.completions.create(**fields, stream=True)
        if chunk.choices[0].logprobs
        for entry in chunk.choices[0].logprobs.content
    ]
    assert [entry.token for entry in streamed] == [entry.token for entry in whole]
    assert [entry.logprob for entry in streamed] == pytest.approx([entry.logprob for entry in whole], abs=1e-4)


def test_tokens_of_a_stop_string_are_not_shown(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": QUESTION}], temperature=0, logprobs=True, stop="France"
    )
    shown = answer.choices[0].logprobs
    assert shown is not None
    assert "".join(entry.token for entry in shown.content or []) == "The capital of "


def test_echoed_prompt_logprobs_are_the_librarys(lenient: OpenAI, library: CtransformersBackend) -> None:
    ids = library.tokenize("The capital of France is Paris. 你好 😀")
    answer = lenient.completions.create(
        model="demo", prompt=ids, echo=True, logprobs=1, max_tokens=1, temperature=0
    ).choices[0]
    shown = answer.logprobs
    assert shown is not None
    assert shown.token_logprobs is not None
    assert shown.token_logprobs[0] is None
    assert shown.token_logprobs[1 : len(ids)] == pytest.approx(direct(library, ids), abs=1e-4)
    assert len(shown.tokens or []) == len(ids) + 1
    # What lm-evaluation-harness compares: the chosen is among the alternatives, greedy means equal to their best.
    for token, logprob, top in zip(shown.tokens or [], shown.token_logprobs, shown.top_logprobs or [], strict=True):
        if logprob is not None:
            assert top[token] == logprob or token == "\ufffd"
            assert max(top.values()) >= logprob


def test_echo_of_text_returns_it_first(lenient: OpenAI) -> None:
    for max_tokens in (0, 4):
        answer = lenient.completions.create(
            model="demo", prompt="Hello you", echo=True, max_tokens=max_tokens, temperature=0, logprobs=0
        ).choices[0]
        assert answer.text.startswith("Hello you")
        assert answer.logprobs is not None
        assert "".join(answer.logprobs.tokens or []) == answer.text
        assert (answer.logprobs.text_offset or [])[0] == 0
        plain = lenient.completions.create(
            model="demo", prompt="Hello you", echo=True, max_tokens=max_tokens, temperature=0
        )
        assert plain.choices[0].text == answer.text


def test_best_of_returns_the_likeliest(client: OpenAI) -> None:
    fields: dict[str, Any] = {"model": "demo", "prompt": "The", "temperature": 1.5, "max_tokens": 6, "seed": 5}
    every = client.completions.create(**fields, n=4, logprobs=0).choices
    means = [np.mean(choice.logprobs.token_logprobs or [-np.inf]) for choice in every]
    best = client.completions.create(**fields, n=1, best_of=4)
    assert best.choices[0].text == every[int(np.argmax(means))].text
    assert best.choices[0].logprobs is None
    assert best.usage.completion_tokens > 6


def test_the_end_token_is_listed_so_that_harnesses_can_cut_it_off(lenient: OpenAI) -> None:
    """lm-evaluation-harness asks for one token and drops the last entry: there must be one, whatever it is."""
    for prompt in ("The capital of France is Paris.", "Hello", "one two"):
        answer = lenient.completions.create(model="demo", prompt=prompt, echo=True, logprobs=1, max_tokens=1)
        shown = answer.choices[0].logprobs
        assert shown is not None
        assert answer.usage is not None
        assert len(shown.tokens or []) == answer.usage.total_tokens - 1  # all but the BOS, the end included


def test_chat_does_not_list_the_end(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": QUESTION}], temperature=0, logprobs=True
    )
    shown = answer.choices[0].logprobs
    assert shown is not None
    assert answer.usage is not None
    assert len(shown.content or []) == answer.usage.completion_tokens - 1
