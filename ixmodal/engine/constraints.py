"""JSON schema, regex and grammar as masks over the next token's logits, by llguidance."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import llguidance
import numpy as np
from llguidance.gbnf_to_lark import GbnfToLarkError, any_to_lark
from numpy.typing import NDArray

from ixmodal.engine.request import Constraint
from ixmodal.errors import EngineError, InvalidRequestError
from ixmodal.models.vocabulary import TokenType, Vocabulary

_JSON_DEFAULTS: Any = {"whitespace_pattern": r"[ \n\t]{0,20}"}
"""Between JSON's tokens: enough to indent with, too little to go round in circles."""
_BITS = 32
_ANCHOR = "\1"
"""A character that is part of no longer token."""


class ConstraintCompiler:
    """Turns constraints into masks for one model's vocabulary, which is prepared on first use."""

    def __init__(self, vocabulary: Vocabulary, tokenize: Callable[[str], list[int]]) -> None:
        """For a vocabulary, and what tokenizes plain text into it (a backend's `tokenize`)."""
        self._vocabulary = vocabulary
        self._tokenize = tokenize

    def compile(self, constraint: Constraint, before: str | None = None) -> TokenMask:
        """A mask at its beginning.

        Args:
            constraint: what the answer must look like.
            before: a grammar in Lark syntax of what may come first, in which `@answer` stands for the constraint.

        Raises:
            InvalidRequestError: the schema, regex or grammar is malformed or uses what is not supported, by name.
        """
        try:
            grammar = _grammar(constraint)
            if before is not None:
                grammar = _preceded(before, grammar)
        except (ValueError, GbnfToLarkError) as error:
            raise self._refuse(constraint, str(error)) from None
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise self._refuse(constraint, matcher.get_error())
        return TokenMask(matcher, len(self._vocabulary))

    @staticmethod
    def _refuse(constraint: Constraint, reason: str) -> InvalidRequestError:
        first = reason.strip().splitlines()[0] if reason.strip() else "it can't be compiled"
        return InvalidRequestError(
            f"'{constraint.param}' can't be honoured: {first[:500]}", param=constraint.param, code="invalid_constraint"
        )

    @cached_property
    def _tokenizer(self) -> llguidance.LLTokenizer:
        wrapper = llguidance.TokenizerWrapper(_Tokens(self._vocabulary, self._tokenize))
        return llguidance.LLTokenizer(wrapper, eos_token=sorted(self._vocabulary.end_ids))


class TokenMask:
    """Which tokens may come next, as the answer grows."""

    def __init__(self, matcher: llguidance.LLMatcher, size: int) -> None:
        self._matcher = matcher
        self._size = size
        self._mask = np.zeros((size + _BITS - 1) // _BITS, dtype=np.uint32)
        self._is_computed = False

    def compute(self) -> None:
        """Find out which tokens may come next. Without the GIL, so that another thread may do it meanwhile."""
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        self._is_computed = True

    def apply(self, logits: NDArray[np.float32]) -> None:
        """Rule out every token that the constraint does not allow now. Raises `EngineError` if that is all of them."""
        if not self._is_computed:
            self.compute()
        if self._matcher.is_error():
            raise EngineError(f"the constraint failed: {self._matcher.get_error()[:300]}")
        # llguidance's own helper expands the mask in Python integers, 1,000 µs for 32,000 tokens; this takes 20.
        allowed = np.unpackbits(self._mask.view(np.uint8), count=self._size, bitorder="little").view(np.bool_)
        np.copyto(logits, -np.inf, where=~allowed)

    def advance(self, token: int) -> bool:
        """Take the chosen token. True if the answer is complete and nothing may follow."""
        self._is_computed = False
        self._matcher.consume_token(token)
        if self._matcher.is_error():
            raise EngineError(f"the constraint failed: {self._matcher.get_error()[:300]}")
        return self._matcher.is_stopped()


class _Tokens:
    """The vocabulary in the form that llguidance asks for."""

    def __init__(self, vocabulary: Vocabulary, tokenize: Callable[[str], list[int]]) -> None:
        special = (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.UNUSED)
        self.special_token_ids = [id for id, kind in enumerate(vocabulary.types) if kind in special]
        self.eos_token_id = min(vocabulary.end_ids, default=0)
        self.bos_token_id = vocabulary.bos_id
        self.tokens = [vocabulary.piece(id) for id in range(len(vocabulary))]
        for id in self.special_token_ids:
            self.tokens[id] = b"<|special_%d|>" % id
        self._tokenize = tokenize

    def __call__(self, text: str) -> Sequence[int]:
        """The tokens of a text that goes on in the middle of an answer.

        llguidance writes what a constraint leaves no choice about with these tokens. They are the model's own, because
        a model that finds its answer spelled in other tokens than it learnt goes astray in the rest.
        """
        tokens = self._tokenize(_ANCHOR + text)
        # Some tokenizers put a space in front of all text; what counts is what follows the anchor.
        anchor = _ANCHOR.encode()
        start = next((at + 1 for at, token in enumerate(tokens) if self.tokens[token] == anchor), len(tokens))
        if b"".join(self.tokens[token] for token in tokens[start:]) == text.encode():
            return tokens[start:]
        return [self._byte_ids[value] for value in text.encode()]

    @cached_property
    def _byte_ids(self) -> dict[int, int]:
        return {piece[0]: id for id, piece in enumerate(self.tokens) if len(piece) == 1}


def _preceded(before: str, grammar: str) -> str:
    """Two grammars as llguidance takes several: a list, of which the first is where it starts."""
    answer = json.loads(grammar)["grammars"][0] if grammar.lstrip().startswith("{") else {"lark_grammar": grammar}
    return json.dumps({"grammars": [{"name": "before", "lark_grammar": before}, {**answer, "name": "answer"}]})


def _grammar(constraint: Constraint) -> str:
    match constraint.kind:
        case "json_object":
            return llguidance.LLMatcher.grammar_from_json_schema('{"type": "object"}', defaults=_JSON_DEFAULTS)
        case "json_schema":
            json.loads(constraint.value)
            return llguidance.LLMatcher.grammar_from_json_schema(constraint.value, defaults=_JSON_DEFAULTS)
        case "regex":
            return llguidance.LLMatcher.grammar_from_regex(constraint.value)
        case "grammar":
            return llguidance.LLMatcher.grammar_from_lark(any_to_lark(constraint.value))
        case other:
            raise ValueError(f"unknown kind {other!r}")
