from __future__ import annotations

from ixmodal.models.vocabulary import TokenType, Vocabulary

TABLE = [
    (b"<unk>", TokenType.UNKNOWN),
    (b"<s>", TokenType.CONTROL),
    (b"</s>", TokenType.CONTROL),
    (b"<0x0A>", TokenType.BYTE),
    (b"<0xFF>", TokenType.BYTE),
    ("\u2581Hello\u2581there".encode(), TokenType.NORMAL),
    ("你好".encode(), TokenType.NORMAL),
    (b"<think>", TokenType.USER_DEFINED),
    (b"<|im_end|>", TokenType.CONTROL),
    (b"<unused>", TokenType.UNUSED),
    (b"<0xff>", TokenType.BYTE),
    (b"<0x41>", TokenType.NORMAL),
    (b"", TokenType.CONTROL),
    (b"\xff", TokenType.NORMAL),
]


def vocabulary(**fields: int | None) -> Vocabulary:
    ids = {"bos_id": 1, "eos_id": 2} | fields
    return Vocabulary([text for text, _ in TABLE], [kind for _, kind in TABLE], **ids)


def test_pieces_are_the_bytes_that_tokens_add() -> None:
    expected = {
        0: "\u2047".encode(),
        1: b"",
        2: b"",
        3: b"\n",
        4: b"\xff",
        5: b" Hello there",
        6: "你好".encode(),
        7: b"<think>",
        8: b"",
        9: b"",
        10: b"<0xff>",  # not how a byte is written: taken as it is
        11: b"<0x41>",  # a text that looks like a byte
        13: b"\xff",
    }
    found = vocabulary()
    for _ in range(2):  # the second time from memory
        assert {token: found.piece(token) for token in expected} == expected


def test_control_and_user_defined_tokens_by_text() -> None:
    assert vocabulary().control_ids == {"<s>": 1, "</s>": 2, "<|im_end|>": 8}
    assert vocabulary().user_defined_ids == {"<think>": 7}


def test_an_answer_ends_at_eos_and_at_the_known_ends_of_a_turn() -> None:
    assert vocabulary().end_ids == {2, 8}
    assert vocabulary(eos_id=5).end_ids == {2, 5, 8}
    assert vocabulary(eos_id=None).end_ids == {2, 8}


def test_a_text_that_merely_looks_like_an_end_is_none() -> None:
    plain = Vocabulary([b"<|im_end|>"], [TokenType.NORMAL], bos_id=None, eos_id=None)
    assert plain.end_ids == frozenset()


def test_longest_text_bounds_the_tokens_of_a_text() -> None:
    assert vocabulary().longest_text == len("\u2581Hello\u2581there".encode())
    assert Vocabulary([b""], [TokenType.CONTROL], None, None).longest_text == 1


def test_names_for_templates() -> None:
    assert vocabulary().text_of(8) == "<|im_end|>"
    assert vocabulary().text_of(13) == "\ufffd"
    assert vocabulary().text_of(None) == ""
    assert len(vocabulary()) == len(TABLE)
