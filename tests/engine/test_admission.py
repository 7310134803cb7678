from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace

import pytest

from ixmodal.engine.admission import Admission, Group
from ixmodal.errors import BusyError

LONG = 30.0


async def settle(turns: int = 5) -> None:
    """Let every task that can go on do so."""
    for _ in range(turns):
        await asyncio.sleep(0)


class Guest:
    """A request that holds its slot until told to leave."""

    def __init__(self, admission: Admission, order: list[str], name: str) -> None:
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._stay(admission, order, name))

    async def _stay(self, admission: Admission, order: list[str], name: str) -> None:
        async with admission.slot():
            order.append(name)
            await self.leave.wait()

    async def go(self) -> None:
        self.leave.set()
        await self.task


async def test_slots_are_given_in_the_order_of_arrival() -> None:
    admission, order = Admission(2, 10, LONG), list[str]()
    guests = [Guest(admission, order, name) for name in "abcdef"]
    await settle()
    assert (order, admission.busy, admission.queued) == (["a", "b"], 2, 4)
    for guest in guests:
        await guest.go()
        await settle()
    assert order == list("abcdef")
    assert (admission.busy, admission.queued) == (0, 0)


async def test_nobody_overtakes_the_queue_when_a_slot_is_handed_over() -> None:
    admission, order = Admission(1, 10, LONG), list[str]()
    first, second = Guest(admission, order, "first"), Guest(admission, order, "second")
    await settle()
    first.leave.set()
    late = Guest(admission, order, "late")
    await settle()
    assert order == ["first", "second"]
    await second.go()
    await late.go()
    assert order == ["first", "second", "late"]


async def test_a_full_queue_turns_away_at_once() -> None:
    admission, order = Admission(1, 1, LONG), list[str]()
    guests = [Guest(admission, order, name) for name in "ab"]
    await settle()
    with pytest.raises(BusyError, match="1 requests are running and 1 are waiting") as caught:
        async with admission.slot():
            raise AssertionError
    assert caught.value.retry_after >= 1
    for guest in guests:
        await guest.go()


async def test_without_a_queue_only_free_slots_are_given() -> None:
    admission, order = Admission(1, 0, LONG), list[str]()
    guest = Guest(admission, order, "a")
    await settle()
    with pytest.raises(BusyError):
        await admission.slot().__aenter__()
    await guest.go()
    async with admission.slot():
        assert admission.busy == 1


async def test_waiting_has_an_end() -> None:
    admission, order = Admission(1, 5, 0.01), list[str]()
    guest = Guest(admission, order, "a")
    await settle()
    with pytest.raises(BusyError, match=r"within 0\.01 seconds"):
        await admission.slot().__aenter__()
    assert admission.queued == 0
    await guest.go()
    assert admission.busy == 0


async def test_who_is_cancelled_while_waiting_leaves_no_trace() -> None:
    admission, order = Admission(1, 5, LONG), list[str]()
    holder, waiter, next_one = (Guest(admission, order, name) for name in ("holder", "waiter", "next"))
    await settle()
    waiter.task.cancel()
    await settle()
    assert admission.queued == 1
    await holder.go()
    await next_one.go()
    assert order == ["holder", "next"]
    assert admission.busy == 0


async def test_a_slot_handed_to_one_who_is_cancelled_in_that_moment_is_passed_on() -> None:
    admission, order = Admission(1, 5, LONG), list[str]()
    holder, waiter, next_one = (Guest(admission, order, name) for name in ("holder", "waiter", "next"))
    await settle()
    holder.leave.set()
    await asyncio.sleep(0)  # the slot is the waiter's now, but its task did not run yet
    assert (admission.busy, admission.queued) == (1, 1)
    waiter.task.cancel()
    await settle()
    assert order == ["holder", "next"]
    await next_one.go()
    assert admission.busy == 0


async def test_an_error_inside_frees_the_slot() -> None:
    admission = Admission(1, 0, LONG)
    with pytest.raises(KeyError):
        async with admission.slot():
            raise KeyError
    assert admission.busy == 0


@pytest.mark.parametrize("seed", range(8))
async def test_no_slot_is_ever_lost(seed: int) -> None:
    chance, slots = random.Random(seed), 3
    admission = Admission(slots, 12, 0.002 if seed % 2 else LONG)
    running, most = 0, 0

    async def guest() -> None:
        nonlocal running, most
        try:
            async with admission.slot():
                running += 1
                most = max(most, running)
                try:
                    for _ in range(chance.randrange(4)):
                        await asyncio.sleep(0)
                finally:
                    running -= 1
        except BusyError:
            pass

    tasks: list[asyncio.Task[None]] = []
    for _ in range(300):
        tasks.append(asyncio.create_task(guest()))
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            chance.choice(tasks).cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (admission.busy, admission.queued, running, most) == (0, 0, 0, slots)


async def test_the_advice_when_to_retry_follows_how_long_requests_take(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("ixmodal.engine.admission.time", SimpleNamespace(monotonic=lambda: now))
    admission = Admission(2, 5, LONG)
    assert admission.retry_after == 1
    for _ in range(40):
        async with admission.slot():
            now += 20.0
    assert admission.retry_after == 10
    for _ in range(40):
        async with admission.slot():
            now += 10_000.0
    assert admission.retry_after == 60


async def test_a_group_has_one_place_in_the_queue() -> None:
    admission, order = Admission(1, 1, LONG), list[str]()
    group = Group()

    async def part(name: str) -> None:
        async with admission.slot(group):
            order.append(name)

    holder = Guest(admission, order, "holder")
    await settle()
    parts = [asyncio.create_task(part(name)) for name in ("first", "second", "third")]
    await settle()
    assert admission.queued == 3
    with pytest.raises(BusyError):
        await admission.slot().__aenter__()  # of another request: the one place is taken
    with pytest.raises(BusyError):
        await admission.slot(Group()).__aenter__()
    parts[1].cancel()
    await holder.go()
    await asyncio.wait(parts)
    assert order == ["holder", "first", "third"]
    assert (admission.busy, admission.queued) == (0, 0)


async def test_what_was_begun_is_not_refused_half_way() -> None:
    admission, order = Admission(1, 1, LONG), list[str]()
    group = Group()
    async with admission.slot(group):
        waiting = Guest(admission, order, "another request")
        await settle()
    joining = asyncio.create_task(admission.slot(group).__aenter__())  # the queue was full when it came
    await settle()
    assert order == ["another request"]
    late = Guest(admission, order, "late")  # the group's second part took no place from it
    await settle()
    assert admission.queued == 2
    await waiting.go()
    await joining
    late.task.cancel()
    await asyncio.wait([late.task])


async def test_a_group_that_is_refused_is_not_in() -> None:
    admission, order = Admission(1, 0, LONG), list[str]()
    holder, group = Guest(admission, order, "holder"), Group()
    await settle()
    for _ in range(2):
        with pytest.raises(BusyError):
            await admission.slot(group).__aenter__()
    await holder.go()
