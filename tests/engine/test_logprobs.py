from __future__ import annotations

import numpy as np
import pytest

from ixmodal.engine.logprobs import LogprobQueue, describe, log_softmax
from ixmodal.engine.request import TokenLogprob
from ixmodal.models.vocabulary import TokenType, Vocabulary

VOCABULARY = Vocabulary([b"a", b"b", b"c", b"d"], [TokenType.NORMAL] * 4, bos_id=None, eos_id=3)


def test_probabilities_sum_to_one_whatever_the_scale() -> None:
    for scale in (1e-3, 1.0, 80.0, 1e4):
        logits = np.random.default_rng(0).normal(0, scale, 1000).astype(np.float32)
        assert np.exp(log_softmax(logits)).sum() == pytest.approx(1)


def test_alternatives_come_best_first_and_hold_the_likeliest() -> None:
    found = describe(np.log([0.1, 0.4, 0.3, 0.2]), 0, 2, VOCABULARY)
    assert (found.id, found.piece, found.logprob) == (0, b"a", pytest.approx(np.log(0.1)))
    assert [other.piece for other in found.top] == [b"b", b"c"]
    assert describe(np.log([0.25] * 4), 2, 2, VOCABULARY).top[0].id == 0  # ties: the lower id
    assert describe(np.log([0.25] * 4), 2, 0, VOCABULARY).top == ()
    assert len(describe(np.log([0.25] * 4), 2, 20, VOCABULARY).top) == 4


def entry(piece: bytes) -> TokenLogprob:
    return TokenLogprob(0, piece, -1.0)


def test_what_is_held_back_is_told_with_its_text() -> None:
    queue = LogprobQueue()
    queue.push(entry(b"ab"))
    assert [e.piece for e in queue.release("a")] == [b"ab"]  # a token is told with its first character
    queue.push(entry(b"c"))
    assert queue.release("b") == ()
    assert [e.piece for e in queue.release("c")] == [b"c"]


def test_a_character_of_several_tokens_is_told_with_all_of_them() -> None:
    queue = LogprobQueue()
    for byte in "你".encode():
        queue.push(entry(bytes([byte])))
    assert len(queue.release("你")) == 3


def test_the_rest_is_told_at_the_end() -> None:
    queue = LogprobQueue()
    queue.push(entry(b"x"))
    queue.push(entry(b""))
    assert len(queue.flush()) == 2
    assert queue.flush() == ()
