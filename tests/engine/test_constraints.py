from __future__ import annotations

import json
import re

import numpy as np
import pytest

from ixmodal.engine.constraints import ConstraintCompiler, TokenMask
from ixmodal.engine.request import Constraint, SamplingParams
from ixmodal.engine.sampler import Sampler
from ixmodal.errors import InvalidRequestError
from ixmodal.models.reasoning import grammar_before
from ixmodal.models.vocabulary import TokenType, Vocabulary

PIECES = [b'{"', b"}", b'":', b"a", b"bc", b",", b"23", b"true", "你".encode()]
BYTES = [b"<0x%02X>" % value for value in range(256)]
TEXTS = [b"<unk>", b"<s>", b"</s>", *BYTES, *PIECES]
TYPES = [TokenType.UNKNOWN, *[TokenType.CONTROL] * 2, *[TokenType.BYTE] * 256, *[TokenType.NORMAL] * len(PIECES)]
VOCABULARY = Vocabulary(TEXTS, TYPES, bos_id=1, eos_id=2)


def tokenize(text: str) -> list[int]:
    """The longest piece at each place, with SentencePiece's space in front."""
    ids = {VOCABULARY.piece(id): id for id in range(3, len(VOCABULARY))}
    rest, tokens = b" " + text.encode(), []
    while rest:
        piece = next(rest[:size] for size in range(len(rest), 0, -1) if rest[:size] in ids)
        tokens.append(ids[piece])
        rest = rest[len(piece) :]
    return tokens


COMPILER = ConstraintCompiler(VOCABULARY, tokenize)


def write(constraint: Constraint, seed: int) -> bytes | None:
    """What a model of no preferences writes; None if it is not done after 200 tokens."""
    mask = COMPILER.compile(constraint)
    sampler = Sampler(SamplingParams(seed=seed), [1], VOCABULARY.end_ids)
    written = b""
    for _ in range(200):
        token = sampler.sample(np.zeros(len(VOCABULARY), np.float32), mask)
        if token in VOCABULARY.end_ids:
            return written
        written += VOCABULARY.piece(token)
        if mask.advance(token):
            return written
    return None


@pytest.mark.parametrize("seed", range(20))
def test_noise_becomes_json_of_the_schema(seed: int) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer", "maximum": 9}, "bc": {"type": "boolean"}},
        "required": ["a", "bc"],
        "additionalProperties": False,
    }
    found = write(Constraint("json_schema", json.dumps(schema)), seed)
    if found is not None:
        parsed = json.loads(found)
        assert isinstance(parsed["bc"], bool)
        assert isinstance(parsed["a"], int)


def test_noise_becomes_what_a_regex_matches() -> None:
    for seed in range(20):
        found = write(Constraint("regex", "(a|bc){1,5}你?"), seed)
        assert found is not None
        assert re.fullmatch("(a|bc){1,5}你?", found.decode())


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    ("constraint", "answer"),
    [
        (Constraint("json_object"), '{"a": 23}'),
        (Constraint("json_schema", '{"type": "boolean"}'), "true"),
        (Constraint("regex", "(a|bc)+"), "abc"),
        (Constraint("grammar", 'root ::= "a" "bc"*'), "abcbc"),
    ],
)
@pytest.mark.parametrize("tags", [(), (b"<think>", b"</think>")], ids=["text", "control"])
def test_a_thought_comes_first(inside: bool, constraint: Constraint, answer: str, tags: tuple[bytes, ...]) -> None:
    vocabulary = Vocabulary([*TEXTS, *tags], [*TYPES, *[TokenType.CONTROL] * len(tags)], bos_id=1, eos_id=2)
    compiler = ConstraintCompiler(vocabulary, tokenize)
    before = grammar_before(starts_inside=inside, control_ids=vocabulary.control_ids)

    def is_allowed(*texts: str) -> bool:
        mask = compiler.compile(constraint, before)
        for token in (token for text in texts for token in spelled(vocabulary, text)):
            logits = np.zeros(len(vocabulary), np.float32)
            mask.apply(logits)
            if np.isneginf(logits[token]):
                return False
            mask.advance(token)
        return True

    thought = ("is {23} it?", "</think>", "\n\n", answer)
    assert is_allowed(*thought) == inside
    assert is_allowed("<think>", *thought)
    assert is_allowed("<think>", *thought[:2], answer)
    assert not is_allowed("<think>", *thought[:2], "%")
    if not inside:
        assert is_allowed(answer)


def spelled(vocabulary: Vocabulary, text: str) -> list[int]:
    """A control token, or bytes."""
    if text in vocabulary.control_ids:
        return [vocabulary.control_ids[text]]
    return [3 + value for value in text.encode()]


@pytest.mark.parametrize("grammar", ['start: "a" ("1" | "23")', 'root ::= "a" ("1" | "23")'])
def test_lark_and_gbnf(grammar: str) -> None:
    assert {write(Constraint("grammar", grammar), seed) for seed in range(20)} == {b"a1", b"a23"}


def test_what_leaves_no_choice_is_written_in_the_models_own_tokens() -> None:
    mask = COMPILER.compile(Constraint("regex", r'\{"a":(true|23)\}'))
    written = []
    while len(written) < 10:
        logits = np.zeros(len(VOCABULARY), np.float32)
        logits[VOCABULARY.texts.index(b"true")] = 1
        mask.apply(logits)
        written.append(VOCABULARY.piece(int(logits.argmax())))
        if mask.advance(int(logits.argmax())):
            break
    assert written == [b'{"', b"a", b'":', b"true", b"}"]


def test_a_tokenizer_that_alters_text_is_not_trusted() -> None:
    upper = ConstraintCompiler(VOCABULARY, lambda text: tokenize(text.upper()))
    mask = upper.compile(Constraint("regex", "abc"))
    logits = np.zeros(len(VOCABULARY), np.float32)
    mask.apply(logits)
    assert VOCABULARY.piece(int(np.flatnonzero(np.isfinite(logits))[0])) == b"a"


def test_control_tokens_are_never_text() -> None:
    mask = COMPILER.compile(Constraint("regex", "(?s:.*)"))
    logits = np.zeros(len(VOCABULARY), np.float32)
    mask.apply(logits)
    assert np.isneginf(logits[[0, 1]]).all()
    assert logits[2] == 0  # the end is allowed


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        (Constraint("json_schema", '{"type": "object", "dependentSchemas": {}, "not": {}}'), "dependentSchemas"),
        (Constraint("json_schema", '{"type": "nothing"}'), "nothing"),
        (Constraint("json_schema", "{"), "can't be honoured"),
        (Constraint("regex", "(", "regex"), "regex"),
        (Constraint("grammar", "start: nope", "grammar"), "nope"),
        (Constraint("grammar", "root ::= (", "grammar"), "can't be honoured"),
        (Constraint("telepathy"), "telepathy"),
    ],
)
def test_what_cant_be_honoured_is_refused_by_name(constraint: Constraint, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words) as caught:
        COMPILER.compile(constraint)
    assert caught.value.param == constraint.param


def test_a_mask_of_any_size_fits_its_vocabulary() -> None:
    for extra in range(64):
        texts = [*TEXTS, *(b"x%d" % i for i in range(extra))]
        vocabulary = Vocabulary(texts, [*TYPES, *[TokenType.NORMAL] * extra], bos_id=1, eos_id=2)
        mask: TokenMask = ConstraintCompiler(vocabulary, tokenize).compile(Constraint("regex", "a"))
        logits = np.zeros(len(vocabulary), np.float32)
        mask.apply(logits)
        # Of two tokens that spell the same, one is allowed.
        assert np.flatnonzero(np.isfinite(logits)).tolist() == [texts.index(b"a")]
