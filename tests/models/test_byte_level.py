from __future__ import annotations

from ixmodal.models.byte_level import decode, decode_all, missing_bytes
from ixmodal.models.vocabulary import TokenType, Vocabulary
from tests.support.modern_files import byte_characters


def test_each_byte_has_a_character() -> None:
    assert [decode(character.encode()) for character in byte_characters()] == [bytes([value]) for value in range(256)]


def test_what_spells_no_byte_stays() -> None:
    assert decode("a你\u0120".encode()) == b"a" + "你".encode() + b" "
    assert decode(b"\xff") == b"\xff"


def test_control_tokens_are_stored_as_they_read() -> None:
    texts = ["<｜end▁of▁sentence｜>".encode(), "\u0120the".encode()]
    types = [TokenType.CONTROL, TokenType.NORMAL]
    decoded = decode_all(texts, types)
    assert decoded == [texts[0], b" the"]
    assert Vocabulary([*decoded, "▁".encode()], [*types, 1], None, None, byte_level=True).piece(2) == "▁".encode()


def test_bytes_without_a_token_are_found() -> None:
    types = [TokenType.NORMAL] * 256
    texts = decode_all([character.encode() for character in byte_characters()], types)
    assert missing_bytes(texts, types) == []
    texts[0x0A] = texts[0xFF] = b"xx"  # no UTF-8 text has the latter
    assert missing_bytes(texts, types) == [0x0A]
