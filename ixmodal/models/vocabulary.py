"""The token table of a model: which bytes each token stands for, and which tokens control the conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

SPACE = "\u2581".encode()
"""SentencePiece's visible space."""
_BYTE_TOKEN = re.compile(rb"<0x([0-9A-F]{2})>")
_END_TEXTS = (b"</s>", b"<|im_end|>", b"<|endoftext|>", b"<|eot_id|>", b"<|end|>", b"<end_of_turn>", b"<|end_of_text|>")

_INFILL_FAMILIES = (
    ("\u2581<PRE>".encode(), "\u2581<SUF>".encode(), "\u2581<MID>".encode()),  # Code Llama
    (b"<fim_prefix>", b"<fim_suffix>", b"<fim_middle>"),  # StarCoder
    (b"<|fim_prefix|>", b"<|fim_suffix|>", b"<|fim_middle|>"),  # Qwen Coder
)
_INFILL_TEXTS = frozenset(text for family in _INFILL_FAMILIES for text in family)


class TokenType(IntEnum):
    """`tokenizer.ggml.token_type` of the GGUF format."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id: `texts` as bytes, `types` as `TokenType` numbers, both of one length.

    SentencePiece texts are as stored, with a visible space; those of a `byte_level` vocabulary are real bytes.
    `turn_end_ids` are tokens that the file names as ends of a turn or a message, besides `eos_id`.
    """

    texts: Sequence[bytes]
    types: Sequence[int]
    bos_id: int | None
    eos_id: int | None
    add_bos: bool = True
    byte_level: bool = False
    turn_end_ids: frozenset[int] = frozenset()
    _pieces: dict[int, bytes] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.texts)

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text; nothing for control tokens."""
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._piece(token)
        return found

    def _piece(self, token: int) -> bytes:
        text, kind = self.texts[token], self.types[token]
        if kind in (TokenType.CONTROL, TokenType.UNUSED):
            return b""
        if kind == TokenType.UNKNOWN:
            return "\u2047".encode()
        if kind == TokenType.BYTE and (match := _BYTE_TOKEN.fullmatch(text)):
            return bytes([int(match[1], 16)])
        return text if self.byte_level else text.replace(SPACE, b" ")

    @cached_property
    def control_ids(self) -> dict[str, int]:
        """Control tokens by their text: what a template may write and a user's text never becomes."""
        return self._of_type(TokenType.CONTROL)

    @cached_property
    def user_defined_ids(self) -> dict[str, int]:
        """Tokens that are found in any text before it is split further."""
        return self._of_type(TokenType.USER_DEFINED)

    def _of_type(self, wanted: TokenType) -> dict[str, int]:
        found = ((i, text) for i, (text, kind) in enumerate(zip(self.texts, self.types, strict=True)) if kind == wanted)
        return {text.decode("utf-8", "replace"): i for i, text in found if text}

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer: the file's end-of-sequence token and the known ends of a turn."""
        known = {i for text, i in self.control_ids.items() if text.encode() in _END_TEXTS}
        return frozenset(known | self.turn_end_ids | ({self.eos_id} if self.eos_id is not None else set()))

    @cached_property
    def infill_ids(self) -> tuple[int, int, int] | None:
        """Tokens that mark what comes before, what comes after, and the text to fill in; None if the model has none."""
        by_text = {text: id for id, text in enumerate(self.texts) if text in _INFILL_TEXTS}
        for names in _INFILL_FAMILIES:
            if all(name in by_text for name in names):
                before, after, middle = (by_text[name] for name in names)
                return before, after, middle
        return None

    @cached_property
    def longest_text(self) -> int:
        """Bytes of the longest token: no text of n bytes has fewer than n / longest_text tokens."""
        return max((len(text) for text in self.texts), default=1) or 1

    def text_of(self, token: int | None) -> str:
        """A token's own spelling, for templates (`bos_token`, `eos_token`)."""
        return "" if token is None else self.texts[token].decode("utf-8", "replace")
