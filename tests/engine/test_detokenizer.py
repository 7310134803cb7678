from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixmodal.engine.detokenizer import Detokenizer

PROPERTY = settings(max_examples=300, deadline=None, database=None, derandomize=True)
LETTERS = st.text("ab。", max_size=8)
WORLDS = st.lists(
    LETTERS | st.sampled_from(["你", "好", "😀", "👩‍👩‍👧", "e\u0301", "\ufffd", "\n", " "]), max_size=6
).map("".join)
STOPS = st.lists(st.text("ab。\n", min_size=1, max_size=4), max_size=3)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    borders = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(borders)]


def emitted(pieces: list[bytes], stop: list[str]) -> tuple[list[str], bool]:
    detokenizer, texts = Detokenizer(stop), []
    for piece in pieces:
        texts.append(detokenizer.push(piece))
        if detokenizer.stopped:
            break
    return [*texts, detokenizer.flush()], detokenizer.stopped


def up_to_first_stop(text: str, stop: list[str]) -> tuple[str, bool]:
    """Character by character, as one who reads along would stop."""
    for end in range(1, len(text) + 1):
        starts = [end - len(word) for word in stop if text[:end].endswith(word)]
        if starts:
            return text[: min(starts)], True
    return text, False


@PROPERTY
@given(text=WORLDS, cuts=st.lists(st.integers(0, 200), max_size=12), stop=STOPS)
def test_what_is_emitted_is_the_text_up_to_the_first_stop(text: str, cuts: list[int], stop: list[str]) -> None:
    texts, stopped = emitted(pieces_of(text.encode(), cuts), stop)
    assert ("".join(texts), stopped) == up_to_first_stop(text, stop)


@PROPERTY
@given(text=WORLDS, cuts=st.lists(st.integers(0, 200), max_size=12))
def test_without_stops_whole_characters_come_at_once(text: str, cuts: list[int]) -> None:
    seen, sent, detokenizer = b"", "", Detokenizer()
    for piece in pieces_of(text.encode(), cuts):
        seen += piece
        sent += detokenizer.push(piece)
        assert sent == seen.decode("utf-8", "ignore")
    assert detokenizer.flush() == ""


def test_a_thousand_random_splits_arrive_byte_exact() -> None:
    text = "你好，世界 😀👩‍👩‍👧 e\u0301n\u0303 日本語。ñ 🏳️‍🌈 " * 4
    data, dice = text.encode(), Random(11)
    for _ in range(1000):
        cuts = [dice.randrange(len(data)) for _ in range(dice.randrange(1, 80))]
        texts, _ = emitted(pieces_of(data, cuts), [])
        assert "".join(texts).encode() == data
        assert all("\ufffd" not in piece for piece in texts)


@pytest.mark.parametrize("text", ["你好，世界", "😀😀", "👩‍👩‍👧 e\u0301 ñ", "日本語。", "ab"])
def test_byte_by_byte(text: str) -> None:
    texts, _ = emitted([bytes([value]) for value in text.encode()], [])
    assert "".join(texts) == text
    assert all(part == "" or len(part) == 1 for part in texts)


def test_the_rest_of_a_character_becomes_a_replacement() -> None:
    texts, _ = emitted(["你".encode() + "好".encode()[:2]], [])
    assert texts == ["你", "\ufffd"]
    assert emitted([b"a\xffb"], [])[0] == ["a\ufffdb", ""]


def test_a_stop_across_tokens_is_held_back_and_dropped() -> None:
    texts, stopped = emitted([b"Hello ", b"<E", b"N", b"D> more"], ["<END>"])
    assert texts == ["Hello ", "", "", "", ""]
    assert stopped


def test_what_only_began_like_a_stop_is_sent_after_all() -> None:
    texts, stopped = emitted([b"a<E", b"N", b"O", b"<EN"], ["<END>"])
    assert texts == ["a", "", "<ENO", "", "<EN"]
    assert not stopped


@pytest.mark.parametrize("cuts", [[], [1], [2], [3], [1, 2, 3]])
def test_the_stop_that_is_complete_first_wins_however_tokens_are_cut(cuts: list[int]) -> None:
    texts, stopped = emitted(pieces_of(b"abcd", cuts), ["abcd", "bc"])
    assert ("".join(texts), stopped) == ("a", True)


def test_of_stops_complete_together_the_longest_wins() -> None:
    assert emitted([b"xab"], ["b", "ab"]) == (["x", ""], True)


@pytest.mark.parametrize("stop", ["\n", "。", "\n\n", "好。"])
def test_short_stops(stop: str) -> None:
    text = f"你 {stop}rest"
    texts, stopped = emitted([bytes([value]) for value in text.encode()], [stop])
    assert ("".join(texts), stopped) == ("你 ", True)


def test_a_stop_that_is_complete_only_with_the_flush() -> None:
    detokenizer = Detokenizer(["\ufffd"])
    assert detokenizer.push(b"a\xe4") == "a"
    assert detokenizer.flush() == ""
    assert detokenizer.stopped


def test_an_empty_stop_never_matches() -> None:
    assert emitted([b"abc"], [""]) == (["abc", ""], False)


def test_nothing_comes_after_a_stop() -> None:
    detokenizer = Detokenizer(["b"])
    assert detokenizer.push(b"abc") == "a"
    assert (detokenizer.push(b"def"), detokenizer.flush()) == ("", "")
