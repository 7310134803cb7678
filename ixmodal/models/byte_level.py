"""Byte-level BPE vocabularies: GPT-2's spelling of bytes as printable characters, undone."""

from __future__ import annotations

from collections.abc import Sequence

from ixmodal.models.vocabulary import TokenType

_SPELLED = (TokenType.NORMAL, TokenType.UNUSED, TokenType.BYTE)
_NEVER_IN_UTF8 = frozenset({0xC0, 0xC1, *range(0xF5, 0x100)})


def _characters() -> dict[str, int]:
    """`bytes_to_unicode` of https://github.com/openai/gpt-2/blob/master/src/encoder.py, the other way round."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [value for value in range(256) if value not in set(plain)]
    return {chr(value): value for value in plain} | {chr(256 + at): value for at, value in enumerate(rest)}


_BYTES = _characters()


def decode(text: bytes) -> bytes:
    """The bytes that a stored token stands for. Characters that spell no byte stay as they are."""
    try:
        return bytes([_BYTES[character] for character in text.decode()])
    except UnicodeDecodeError:
        return text
    except KeyError:
        spelled = text.decode()
        return b"".join(bytes([_BYTES[c]]) if c in _BYTES else c.encode() for c in spelled)


def decode_all(texts: Sequence[bytes], types: Sequence[int]) -> list[bytes]:
    """All tokens as bytes. Control and user-defined tokens are stored as they read, not spelled."""
    return [decode(text) if kind in _SPELLED else text for text, kind in zip(texts, types, strict=True)]


def missing_bytes(texts: Sequence[bytes], types: Sequence[int]) -> list[int]:
    """Bytes of UTF-8 texts that no token of `decode_all` stands for alone: a text with them could not be tokenized."""
    single = {text for text, kind in zip(texts, types, strict=True) if len(text) == 1 and kind in _SPELLED}
    return [value for value in range(256) if bytes([value]) not in single and value not in _NEVER_IN_UTF8]
