from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ixmodal.engine.request import FinishReason, SamplingParams
from ixmodal.engine.sequence import Sequence
from ixmodal.engine.slots import Slot
from ixmodal.models.vocabulary import TokenType, Vocabulary

EOS = 256
VOCABULARY = Vocabulary(
    [b"<0x%02X>" % value for value in range(256)] + [b"</s>"], [TokenType.BYTE] * 256 + [TokenType.CONTROL], None, EOS
)


def sequence(prompt: list[int], held: int = 0, context_length: int = 100, **params: Any) -> Sequence:
    slot = Slot(3)
    slot.tokens.extend(prompt[:held])
    return Sequence(1, slot, prompt, SamplingParams(temperature=0.0, **params), VOCABULARY, context_length)


def logits_for(token: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    logits = np.zeros(len(VOCABULARY), np.float32)
    logits[token] = 9
    return logits


def answer(of: Sequence, tokens: list[int]) -> tuple[list[str], FinishReason | None]:
    texts = []
    for token in tokens:
        step = of.sample(logits_for(token))
        texts.append(step.text)
        if step.reason:
            return texts, step.reason
        assert of.advance(of.next_chunk(16))
    return texts, None


def test_a_prompt_is_read_in_chunks_after_what_the_slot_holds() -> None:
    reading = sequence(list(range(10)), held=3)
    chunks = []
    while True:
        chunk = reading.next_chunk(3)
        chunks.append((chunk.slot, list(chunk.tokens), chunk.past))
        if reading.advance(chunk):
            break
    assert chunks == [(3, [3, 4, 5], 3), (3, [6, 7, 8], 6), (3, [9], 9)]
    assert list(reading.slot.tokens) == list(range(10))


def test_a_sampled_token_is_evaluated_only_if_more_is_wanted() -> None:
    running = sequence([1], max_tokens=2)
    assert running.advance(running.next_chunk(16))
    running.sample(logits_for(65))
    chunk = running.next_chunk(16)
    assert (list(chunk.tokens), chunk.past) == ([65], 1)
    assert running.advance(chunk)
    assert running.sample(logits_for(66)).reason is FinishReason.LENGTH
    assert list(running.slot.tokens) == [1, 65]  # the last one was never evaluated: no forward is wasted on it
    assert running.completion_tokens == 2


def test_the_models_end_is_not_returned() -> None:
    assert answer(sequence([1]), [65, EOS]) == (["A", ""], FinishReason.STOP)


def test_the_callers_stop_token_is_not_returned() -> None:
    assert answer(sequence([1], stop_token_ids=(66,)), [65, 66]) == (["A", ""], FinishReason.STOP)


def test_a_stop_string_ends_the_answer_before_it() -> None:
    assert answer(sequence([1], stop=("BC",)), [65, 66, 67, 68]) == (["A", "", ""], FinishReason.STOP)


def test_what_was_held_back_comes_with_the_end() -> None:
    assert answer(sequence([1], stop=("BC",)), [65, 66, EOS]) == (["A", "", "B"], FinishReason.STOP)
    assert answer(sequence([1], stop=("BC",), max_tokens=2), [65, 66]) == (["A", "B"], FinishReason.LENGTH)
    assert answer(sequence([1], max_tokens=1), [0xE4]) == (["\ufffd"], FinishReason.LENGTH)


def test_a_stop_met_by_the_very_last_token_is_a_stop() -> None:
    assert answer(sequence([1], stop=("B",), max_tokens=2), [65, 66]) == (["A", ""], FinishReason.STOP)
    assert answer(sequence([1], stop=("\ufffd",), max_tokens=1), [0xE4]) == ([""], FinishReason.STOP)


@pytest.mark.parametrize(("max_tokens", "expected"), [(None, 4), (2, 2), (99, 4)])
def test_an_answer_is_as_long_as_asked_or_as_the_context_allows(max_tokens: int | None, expected: int) -> None:
    running = sequence([1] * 6, context_length=10, max_tokens=max_tokens)
    texts, reason = answer(running, [65] * 20)
    assert ("".join(texts), reason) == ("A" * expected, FinishReason.LENGTH)


def test_zero_tokens_need_no_evaluation() -> None:
    assert not sequence([1], max_tokens=0).wants_tokens
    assert not sequence([1] * 10, context_length=10).wants_tokens
    assert sequence([1], max_tokens=1).wants_tokens


def test_characters_across_tokens_come_whole() -> None:
    assert answer(sequence([1], max_tokens=3), list("好".encode())) == (["", "", "好"], FinishReason.LENGTH)
