"""Which slot a prompt gets, and what is copied or restored into it, over a backend that checks what it is told."""

from __future__ import annotations

import random
import time
from array import array
from collections.abc import Sequence
from pathlib import Path

import pytest

from ixmodal.backends.base import Chunk, LoadParams, State
from ixmodal.backends.scripted import ScriptedBackend
from ixmodal.engine.prefix_cache import Awaited, PrefixCache, Reading, Taken
from ixmodal.engine.saved_states import SavedStates
from ixmodal.engine.slots import Slot
from ixmodal.engine.state_files import Errand, StateFiles
from ixmodal.errors import EngineError
from tests.engine.helpers import PATIENCE
from tests.support.gguf_files import load_params

SYSTEM = list(range(10, 110))


class Noting(ScriptedBackend):
    """Notes what is copied, saved and restored; refuses it if it is told to."""

    def __init__(self, params: LoadParams) -> None:
        super().__init__(params)
        self.done: list[str] = []
        self.refuses = False

    def copy(self, source: int, target: int, count: int) -> None:
        self._note(f"copy {source} {target} {count}")
        super().copy(source, target, count)

    def save(self, slot: int, count: int) -> State:
        self._note(f"save {slot} {count}")
        return super().save(slot, count)

    def restore(self, slot: int, state: State) -> None:
        self._note(f"restore {slot}")
        super().restore(slot, state)

    def holds(self, slot: int) -> list[int]:
        return self._held[slot]

    def _note(self, done: str) -> None:
        self.done.append(done)
        if self.refuses:
            raise EngineError("the script says that this fails")


class Cache:
    """A cache whose prompts are read at once, or in part."""

    def __init__(self, slots: int, memory: int = 0) -> None:
        self.backend = Noting(load_params(Path("scripted"), slots=slots, context_length=100_000))
        self.memory = SavedStates(memory)
        self.cache = PrefixCache(self.backend, self.memory)

    def take(self, prompt: Sequence[int], *, reuse: bool = True) -> Taken:
        found = self.cache.take(prompt, reuse=reuse)
        assert isinstance(found, Taken)
        assert list(found.slot.tokens) == list(prompt[: found.cached])
        assert found.cached < len(prompt)
        assert self.backend.holds(found.slot.index)[: found.cached] == list(prompt[: found.cached])
        return found

    def read(self, slot: Slot, tokens: Sequence[int]) -> None:
        self.backend.forward([Chunk(slot.index, list(tokens), len(slot.tokens))])
        slot.tokens.extend(tokens)

    def answer(self, prompt: Sequence[int], *, reuse: bool = True) -> Taken:
        """From the choice of a slot to its release."""
        taken = self.take(prompt, reuse=reuse)
        self.read(taken.slot, prompt[taken.cached :])
        self.cache.release(taken.slot)
        return taken


def chat(start: int, length: int = 200) -> list[int]:
    return [*SYSTEM, *range(start, start + length)]


def test_a_conversation_goes_on_in_its_slot() -> None:
    cached = Cache(3, 10_000_000)
    slots = [cached.answer(chat(1000 * n)).slot for n in (1, 2, 3)]
    for turn in (2, 3, 4):
        for n in (3, 1, 2):
            taken = cached.answer(chat(1000 * n, 200 * turn))
            assert (taken.slot, taken.cached) == (slots[n - 1], 100 + 200 * (turn - 1))
    assert cached.backend.done == ["copy 0 1 100", "copy 0 2 100"]


def test_a_busy_slots_prefix_is_copied() -> None:
    cached = Cache(2)
    busy = cached.take(chat(1000))
    cached.read(busy.slot, chat(1000))
    other = cached.take(chat(2000))
    assert (other.cached, cached.backend.done) == (100, [f"copy {busy.slot.index} {other.slot.index} 100"])
    assert list(busy.slot.tokens) == chat(1000)


def test_another_conversation_does_not_take_the_slot_whose_beginning_it_shares() -> None:
    cached = Cache(3)
    first = cached.answer(chat(1000)).slot
    second = cached.answer(chat(2000))
    assert second.slot is not first
    assert second.cached == 100
    assert cached.answer(chat(1000, 300)) == (first, 300)


def test_a_few_tokens_are_read_rather_than_copied() -> None:
    cached = Cache(2)
    cached.answer([1, 2, 3, *range(1000, 1100)])
    assert cached.answer([1, 2, 3, *range(2000, 2100)]).cached == 0
    assert cached.backend.done == []


def test_little_of_a_very_long_slot_is_not_copied() -> None:
    cached = Cache(2)
    cached.answer([*SYSTEM[:20], *range(1000, 9000)])
    assert cached.answer([*SYSTEM[:20], *range(10_000, 10_100)]).cached == 0


def test_a_prompt_that_is_being_read_is_awaited_and_then_copied() -> None:
    cached = Cache(3)
    first = cached.take(chat(1000))
    waits = cached.cache.take(chat(2000))
    assert isinstance(waits, Reading)
    cached.read(first.slot, chat(1000)[:60])
    assert not waits.over
    assert isinstance(cached.cache.take(chat(2000)), Reading)
    cached.read(first.slot, chat(1000)[60:120])
    assert waits.over
    assert cached.take(chat(2000)).cached == 100


def test_a_prompt_is_awaited_to_its_last_token_but_one() -> None:
    cached = Cache(2)
    first = cached.take(SYSTEM)
    waits = cached.cache.take(SYSTEM)
    assert isinstance(waits, Reading)
    cached.read(first.slot, SYSTEM)
    assert waits.over
    assert cached.take(SYSTEM).cached == 99


def test_nobody_waits_for_one_that_ended() -> None:
    cached = Cache(2)
    first = cached.take(chat(1000))
    waits = cached.cache.take(chat(2000))
    assert isinstance(waits, Reading)
    cached.read(first.slot, chat(1000)[:40])
    cached.cache.release(first.slot)
    assert waits.over
    assert cached.take(chat(2000)).cached == 40


def test_what_a_slot_held_is_saved_and_restored() -> None:
    cached = Cache(1, 10_000_000)
    first, second = list(range(1000, 1200)), list(range(2000, 2200))
    cached.answer(first)
    assert cached.answer(second).cached == 0
    assert cached.answer([*first, 5]).cached == 200
    assert cached.answer([*second, 5]).cached == 200
    assert cached.backend.done == ["save 0 200", "save 0 200", "restore 0", "save 0 201", "restore 0"]


def test_more_conversations_than_slots_read_their_new_tokens_only() -> None:
    cached = Cache(2, 10_000_000)
    for turn in range(1, 6):
        for n in range(1, 8):
            taken = cached.answer([*range(1000 * n, 1000 * n + 150 * turn)])
            assert taken.cached == 150 * (turn - 1)


def test_without_memory_nothing_is_saved() -> None:
    cached = Cache(1)
    cached.answer(chat(1000))
    cached.answer([*range(5000, 5200)])
    assert cached.backend.done == []


def test_memory_is_bounded_and_what_was_unused_longest_goes() -> None:
    cached = Cache(1, 5000)  # three of 200 tokens: 4 bytes each as tokens, and as the script's state
    for n in range(1, 6):
        cached.answer([*range(1000 * n, 1000 * n + 200)])
        assert cached.memory.size <= 5000
    assert cached.answer([*range(1000, 1201)]).cached == 0
    assert cached.answer([*range(4000, 4201)]).cached == 200


def test_a_state_larger_than_the_bound_is_not_kept_nor_saved_again() -> None:
    cached = Cache(1, 1000)
    cached.answer([*range(1000, 1400)])
    cached.answer([*range(2000, 2400)])
    cached.answer([*range(3000, 3400)])
    assert cached.backend.done == ["save 0 400"]
    assert cached.memory.size == 0


def test_what_another_slot_holds_is_lost_first_and_not_saved() -> None:
    cached = Cache(3, 10_000_000)
    cached.answer(chat(1000, 300))
    precious = cached.answer([*range(7000, 7300)]).slot
    cached.answer([*chat(1000, 300)[:-1], 9])  # the same but for its end: in place
    cached.answer(chat(1000, 500))
    cached.backend.done.clear()
    cached.answer([*range(8000, 8300)])
    cached.answer([*range(7000, 7400)])
    assert cached.cache.slots.all[precious.index].tokens == array("i", range(7000, 7400))
    assert "restore" not in " ".join(cached.backend.done)


def test_without_reuse_everything_is_read_and_nothing_promised() -> None:
    cached = Cache(2, 10_000_000)
    cached.answer(chat(1000))
    taken = cached.take(chat(1000), reuse=False)
    assert taken.cached == 0
    assert not taken.slot.coming
    cached.cache.release(taken.slot)
    assert cached.answer(chat(1000, 250)).cached == 300


def test_where_the_library_fails_the_prompt_is_read() -> None:
    cached = Cache(2, 10_000_000)
    cached.answer(chat(1000))
    cached.backend.refuses = True
    assert cached.answer(chat(2000)).cached == 0
    assert cached.answer([*range(5000, 5200)]).cached == 0
    cached.backend.refuses = False
    assert cached.answer(chat(3000)).cached == 100


def test_no_slot_is_free() -> None:
    cached = Cache(1)
    cached.take([1, 2])
    assert cached.cache.take([1, 2]) is None


@pytest.mark.parametrize("memory", [0, 3000, 100_000])
def test_never_a_wrong_prefix_nor_a_lost_slot_nor_a_wait_for_ever(memory: int) -> None:
    chance, cached = random.Random(memory), Cache(4, memory)
    busy: list[tuple[Slot, list[int]]] = []
    waiting: list[tuple[list[int], Awaited]] = []
    alphabet = [[chance.randrange(9) for _ in range(60)] for _ in range(4)]
    for _ in range(3000):
        assert cached.memory.size <= memory
        if busy and chance.random() < 0.6:
            slot, left = busy.pop(chance.randrange(len(busy)))
            size = chance.choice([10, 50, len(left)])
            cached.read(slot, left[:size])
            if left[size:] and chance.random() < 0.9:
                busy.append((slot, left[size:]))
            else:
                cached.cache.release(slot)
            continue
        ready = next((at for at, (_, awaited) in enumerate(waiting) if awaited.over), None)
        assert busy or not waiting or ready is not None
        if ready is None and len(busy) + len(waiting) == 4:
            continue
        prompt = waiting.pop(ready)[0] if ready is not None else sum(chance.choices(alphabet, k=3), [1])
        found = cached.cache.take(prompt, reuse=chance.random() < 0.9)
        assert found is not None
        if isinstance(found, Taken):
            assert list(found.slot.tokens) == prompt[: found.cached]
            assert cached.backend.holds(found.slot.index)[: found.cached] == prompt[: found.cached]
            assert found.slot not in [slot for slot, _ in busy]
            busy.append((found.slot, prompt[found.cached :]))
        else:
            waiting.append((prompt, found))


def on_disk(directory: Path, slots: int = 1, memory: int = 10_000_000, disk: int = 10_000_000) -> Cache:
    cached = Cache(slots, memory)
    files = StateFiles(directory, disk, lambda: b"f" * 32)
    assert files.scan.done.wait(PATIENCE)
    cached.cache = PrefixCache(cached.backend, cached.memory, files)
    return cached


def awaited(cached: Cache, prompt: Sequence[int]) -> Taken:
    found = cached.cache.take(prompt)
    assert found is not None
    assert not isinstance(found, Taken)
    assert isinstance(found, Errand)
    assert found.done.wait(PATIENCE)
    return cached.take(prompt)


def test_slots_outlive_the_process(tmp_path: Path) -> None:
    first = on_disk(tmp_path, 2)
    first.answer(chat(1000))
    first.answer([*range(5000, 5300)])
    first.answer([*range(9000, 9010)])  # not worth it
    first.cache.close(time.monotonic() + PATIENCE)
    second = on_disk(tmp_path, 2)
    taken = awaited(second, chat(1000, 300))
    assert taken.cached == 300
    second.cache.release(taken.slot)
    assert awaited(second, [*range(5000, 5200), 7]).cached == 200
    assert len(list(tmp_path.iterdir())) == 2


def test_what_memory_has_no_room_for_is_on_disk(tmp_path: Path) -> None:
    cached = on_disk(tmp_path, 1, memory=2000)
    for n in range(1, 5):
        cached.answer([*range(1000 * n, 1000 * n + 200)])
        assert cached.cache._files
        cached.cache._files.flush(time.monotonic() + PATIENCE)
    assert awaited(cached, [*range(1000, 1201)]).cached == 200


def test_a_damaged_file_costs_a_reading_and_nothing_else(tmp_path: Path) -> None:
    first = on_disk(tmp_path)
    first.answer(chat(1000))
    first.cache.close(time.monotonic() + PATIENCE)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert awaited(on_disk(tmp_path), chat(1000, 300)).cached == 0
    assert not path.exists()


def test_without_time_nothing_is_saved_at_the_end(tmp_path: Path) -> None:
    cached = on_disk(tmp_path)
    cached.answer(chat(1000))
    cached.cache.close(time.monotonic() - 1)
    assert not list(tmp_path.iterdir())


def test_a_short_prompt_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    first = on_disk(tmp_path)
    first.answer(chat(1000))
    first.cache.close(time.monotonic() + PATIENCE)
    assert on_disk(tmp_path).take(SYSTEM[:60]).cached == 0
