from __future__ import annotations

import random

import pytest

from ixmodal.engine.slots import Slot, Slots, as_tokens, common_prefix


def fill(slots: Slots, *prompts: list[int]) -> list[Slot]:
    taken = []
    for prompt in prompts:
        found = slots.take(prompt)
        assert found is not None
        found[0].tokens = as_tokens(prompt)
        taken.append(found[0])
    for slot in taken:
        slots.release(slot)
    return taken


@pytest.mark.parametrize(
    ("left", "right", "length"),
    [([], [], 0), ([1], [], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2], 2), ([1, 9], [1, 2], 1), ([9], [1], 0)],
)
def test_common_prefix(left: list[int], right: list[int], length: int) -> None:
    assert common_prefix(left, right) == common_prefix(right, left) == length


def test_each_slot_is_taken_once_until_released() -> None:
    slots = Slots(3)
    taken = [slots.take([1]) for _ in range(3)]
    assert sorted(found[0].index for found in taken if found) == [0, 1, 2]
    assert slots.take([1]) is None
    assert taken[1] is not None
    slots.release(taken[1][0])
    assert slots.take([1]) == (taken[1][0], 0)
    assert slots.take([1]) is None


def test_the_longest_match_is_taken_and_cut() -> None:
    slots = Slots(2)
    first, second = fill(slots, [1, 2, 3, 4], [1, 2, 9])
    assert slots.take([1, 2, 9, 9, 9]) == (second, 3)
    assert list(second.tokens) == [1, 2, 9]
    assert slots.take([1, 2, 3, 7]) == (first, 3)
    assert list(first.tokens) == [1, 2, 3]


def test_the_last_token_of_a_prompt_is_always_evaluated() -> None:
    slots = Slots(1)
    fill(slots, [1, 2, 3])
    found = slots.take([1, 2, 3])
    assert found is not None
    assert found[1] == 2
    assert list(found[0].tokens) == [1, 2]


def test_without_a_match_the_slot_unused_longest_is_taken() -> None:
    slots = Slots(3)
    first, second, third = fill(slots, [1, 1], [2, 2], [3, 3])
    again = slots.take([1, 1, 1])
    assert again is not None
    slots.release(again[0])
    assert slots.take([7, 7]) == (second, 0)
    assert slots.take([8, 8]) == (third, 0)
    assert slots.take([9, 9]) == (first, 0)


def test_a_shared_beginning_alone_does_not_cost_a_conversation_its_slot() -> None:
    slots = Slots(2)
    old, recent = fill(slots, [5, 6, 7], [1, *range(100, 150)])
    prompt = [1, *range(200, 250)]
    assert slots.take(prompt) == (old, 0)
    assert list(recent.tokens) == [1, *range(100, 150)]


def test_never_a_lost_slot_nor_a_wrong_prefix() -> None:
    chance, slots = random.Random(1), Slots(4)
    busy: list[Slot] = []
    for _ in range(3000):
        if busy and chance.random() < 0.5:
            slots.release(busy.pop(chance.randrange(len(busy))))
            continue
        prompt = [chance.randrange(2) for _ in range(chance.randrange(1, 12))]
        found = slots.take(prompt)
        assert (found is None) == (len(busy) == 4)
        if found:
            slot, cached = found
            assert slot not in busy
            assert list(slot.tokens) == prompt[:cached]
            assert cached < len(prompt)
            slot.tokens = as_tokens(prompt)
            busy.append(slot)
