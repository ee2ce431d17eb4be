"""Slots for calls: a cap and a line, for all loops of a process."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from fbguard.core import slots as module
from fbguard.core.slots import Slots
from tests.support import PATIENCE, FakeClock, until

pytestmark = pytest.mark.usefixtures("quiet_asyncio")


@pytest.fixture
def elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    """Give a loop that stands still between what is done on it."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


async def stand_in_line(slots: Slots, count: int) -> list[asyncio.Task[bool]]:
    """Start tasks that ask for a slot, each in line before the next one starts."""
    tasks = []
    for _ in range(count):
        before = slots.waiting
        tasks.append(asyncio.create_task(slots.acquire()))
        await until(lambda before=before: slots.waiting == before + 1)
    return tasks


def test_as_many_as_there_are():
    async def main() -> None:
        slots = Slots(3, 10)
        assert [await slots.acquire() for _ in range(3)] == [True] * 3
        assert (slots.taken, slots.waiting) == (3, 0)
        (waiter,) = await stand_in_line(slots, 1)
        assert not waiter.done()
        slots.release()
        assert await waiter is True
        assert (slots.taken, slots.waiting) == (3, 0)
        for _ in range(3):
            slots.release()
        assert (slots.taken, slots.waiting) == (0, 0)

    asyncio.run(main())


def test_first_come_first_served():
    async def main() -> None:
        slots, order = Slots(1, 100), []
        await slots.acquire()

        async def work(number: int) -> None:
            assert await slots.acquire()
            order.append(number)
            await asyncio.sleep(0)
            slots.release()

        tasks = [asyncio.create_task(work(number)) for number in range(50)]
        await until(lambda: slots.waiting == 50)
        slots.release()
        late = asyncio.create_task(work(50))  # the slot is promised: who comes now stands behind
        await asyncio.gather(*tasks, late)
        assert order == list(range(51))
        assert slots.taken == 0

    asyncio.run(main())


@pytest.mark.parametrize(("waited", "order"), [(0.75, [0, 1, 2, 3]), (0.76, [3, 2, 1, 0])])
def test_once_the_first_has_lost_patience_the_last_goes_first(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, waited: float, order: list[int]
) -> None:
    monkeypatch.setattr(module, "time", clock)

    async def main() -> None:
        slots, served = Slots(1, 100, 0.75), []
        await slots.acquire()

        async def work(number: int) -> None:
            assert await slots.acquire()
            served.append(number)

        tasks = []
        for number in range(4):
            tasks.append(asyncio.create_task(work(number)))
            await until(lambda number=number: slots.waiting == number + 1)
            clock.advance(waited if number == 0 else 0)
        for count in range(1, 5):
            slots.release()
            await until(lambda count=count: len(served) == count)
        await asyncio.gather(*tasks)
        assert served == order
        slots.release()
        assert (slots.taken, slots.waiting) == (0, 0)

    asyncio.run(main())


def test_when_those_without_patience_have_left_it_is_first_come_first_served_again(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "time", clock)

    async def main() -> None:
        slots = Slots(1, 100, 0.75)
        await slots.acquire()
        old = await stand_in_line(slots, 2)
        clock.advance(5)
        young = await stand_in_line(slots, 3)
        slots.release()
        assert await asyncio.wait_for(young.pop(), PATIENCE) is True
        for task in old:
            task.cancel()
        await asyncio.gather(*old, return_exceptions=True)
        for task in young:
            slots.release()
            assert await asyncio.wait_for(task, PATIENCE) is True
        assert (slots.taken, slots.waiting) == (1, 0)

    asyncio.run(main())


def test_nobody_is_looked_for_by_who_leaves_the_line(monkeypatch):
    """A crowd that gives up together would stop the loop, if each of them went through the whole line."""
    compared: list[object] = []

    def equal(self: object, other: object) -> bool:
        compared.append(other)
        return self is other

    monkeypatch.setattr(module._Waiter, "__eq__", equal, raising=False)

    async def main() -> None:
        slots = Slots(1, 1000)
        await slots.acquire()
        tasks = await stand_in_line(slots, 1000)
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (slots.taken, slots.waiting) == (1, 0)

    asyncio.run(main())
    assert compared == []


def test_a_full_line_says_no_at_once():
    async def main() -> None:
        slots = Slots(1, 2)
        await slots.acquire()
        waiters = await stand_in_line(slots, 2)
        acquire = slots.acquire()
        with pytest.raises(StopIteration) as said:
            acquire.send(None)  # without one turn of the loop
        assert said.value.value is False
        slots.release()
        assert await waiters[0] is True
        later = await stand_in_line(slots, 1)  # there is room in the line again
        slots.release()
        slots.release()
        assert await asyncio.gather(*waiters, *later) == [True] * 3
        slots.release()
        assert (slots.taken, slots.waiting) == (0, 0)

    asyncio.run(main())


@pytest.mark.parametrize("leaver", [0, 1, 2])
def test_a_cancelled_waiter_leaves_the_line(leaver):
    async def main() -> None:
        slots = Slots(1, 3)
        await slots.acquire()
        waiters = await stand_in_line(slots, 3)
        gone = waiters.pop(leaver)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert (slots.taken, slots.waiting) == (1, 2)
        for waiter in waiters:
            slots.release()
            assert await waiter is True
        slots.release()
        assert (slots.taken, slots.waiting) == (0, 0)

    asyncio.run(main())


@pytest.mark.parametrize("woken", [False, True])
def test_a_waiter_that_is_cancelled_as_its_slot_comes_hands_it_on(woken):
    async def main() -> None:
        slots = Slots(1, 3)
        await slots.acquire()
        first, second = await stand_in_line(slots, 2)
        slots.release()  # to the first, who does not know yet
        if woken:
            first.get_loop().call_soon(first.cancel)  # behind what wakes it, before it runs
        else:
            first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second is True
        assert (slots.taken, slots.waiting) == (1, 0)
        slots.release()
        assert slots.taken == 0

    asyncio.run(main())


def test_how_many_are_free():
    async def main() -> None:
        slots = Slots(2, 0)
        assert slots.free == 2
        await slots.acquire()
        assert slots.free == 1
        await slots.acquire()
        assert slots.free == 0
        slots.release()
        assert slots.free == 1

    asyncio.run(main())


def test_places_for_those_who_wait_elsewhere():
    async def main() -> None:
        slots = Slots(1, 3)
        await slots.acquire()
        (first,) = await stand_in_line(slots, 1)
        assert [slots.reserve() for _ in range(3)] == [True, True, False]
        assert slots.waiting == 3
        assert await slots.acquire() is False  # they count
        slots.unreserve()
        (second,) = await stand_in_line(slots, 1)
        assert slots.reserve() is False
        slots.release()
        assert await first is True
        assert slots.reserve() is True
        slots.release()
        assert await second is True
        for _ in range(3):  # one too many, as after a fork
            slots.unreserve()
        slots.release()
        assert (slots.taken, slots.waiting) == (0, 0)
        assert [slots.reserve() for _ in range(5)] == [True] * 4 + [False]  # the free slot is a place, too

    asyncio.run(main())


def test_who_comes_for_them_finds_a_place_and_waits_his_turn():
    async def main() -> None:
        slots, order = Slots(1, 2), []
        await slots.acquire()

        async def work(name: str, **how: bool) -> None:
            assert await slots.acquire(**how)
            order.append(name)
            slots.release()

        first = asyncio.create_task(work("first"))
        await until(lambda: slots.waiting == 1)
        assert slots.reserve()
        porter = asyncio.create_task(work("porter", for_reserved=True))
        await until(lambda: len(slots._line) == 2)
        slots.unreserve()
        slots.release()
        await asyncio.gather(first, porter)
        assert order == ["first", "porter"]
        assert (slots.taken, slots.waiting) == (0, 0)

    asyncio.run(main())


def forsaken(slots: Slots) -> tuple[asyncio.AbstractEventLoop, asyncio.Task[bool]]:
    """Return a loop that stands still, and the task on it that waits for a slot."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(slots.acquire())
    task._log_destroy_pending = False
    loop.call_soon(loop.stop)
    loop.run_forever()
    return loop, task


def test_a_waiter_whose_loop_is_closed_gets_none():
    async def main() -> None:
        slots = Slots(1, 3)
        await slots.acquire()
        loop, task = await asyncio.to_thread(forsaken, slots)
        (mine,) = await stand_in_line(slots, 1)
        assert slots.waiting == 2
        loop.close()
        slots.release()
        assert await mine is True
        assert (slots.taken, slots.waiting) == (1, 0)
        slots.release()
        assert slots.taken == 0
        assert not task.done()

    asyncio.run(main())


def test_a_loop_that_stands_still_gets_no_slot_and_keeps_its_place(elsewhere):
    slots = Slots(1, 3)
    elsewhere.run_until_complete(slots.acquire())
    loop, task = forsaken(slots)

    async def main() -> None:
        waiters = await stand_in_line(slots, 2)
        for waiter in waiters:  # who stood in line before them hinders nobody
            slots.release()
            assert await asyncio.wait_for(waiter, PATIENCE) is True
        assert (slots.taken, slots.waiting) == (1, 1)

    async def go_on() -> None:
        slots.release()
        assert await asyncio.wait_for(task, PATIENCE) is True

    asyncio.run(main())
    loop.run_until_complete(go_on())
    assert (slots.taken, slots.waiting) == (1, 0)
    slots.release()
    assert slots.taken == 0
    loop.close()


def test_a_slot_that_only_loops_that_stand_still_wait_for_is_free(elsewhere):
    slots = Slots(1, 3)
    elsewhere.run_until_complete(slots.acquire())
    loop, task = forsaken(slots)
    slots.release()
    assert (slots.taken, slots.waiting) == (0, 1)
    assert elsewhere.run_until_complete(slots.acquire()) is True
    assert not task.done()
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    assert (slots.taken, slots.waiting) == (1, 0)


def test_nobody_but_waiters_of_closed_loops(elsewhere):
    slots = Slots(1, 3)
    elsewhere.run_until_complete(slots.acquire())
    kept = [forsaken(slots) for _ in range(2)]
    for loop, _ in kept:
        loop.close()
    slots.release()
    assert (slots.taken, slots.waiting) == (0, 0)


def test_a_slot_on_its_way_to_a_loop_that_is_closed_meanwhile(elsewhere):
    slots = Slots(1, 3)
    elsewhere.run_until_complete(slots.acquire())
    loop, task = forsaken(slots)
    for step in (slots.release, loop.stop):
        loop.call_soon(step)
    loop.run_forever()
    assert (slots.taken, slots.waiting) == (1, 0)  # it is the waiter's
    loop.close()
    del loop, task
    gc.collect()  # the waiter ends with its loop, unheard
    assert (slots.taken, slots.waiting) == (0, 0)


def test_a_runner_that_ends_gives_back_what_its_waiters_had(elsewhere):
    slots = Slots(1, 3)
    elsewhere.run_until_complete(slots.acquire())

    async def main() -> None:
        await stand_in_line(slots, 2)
        slots.release()

    asyncio.run(main())  # which cancels them
    assert (slots.taken, slots.waiting) == (0, 0)


# -- loops that are closed while they hold slots --------------------------------------------------------

Until = Callable[[], Coroutine[Any, Any, object]]


async def for_ever() -> None:
    await asyncio.Event().wait()


async def failing_at_the_end() -> None:
    try:
        await for_ever()
    finally:
        raise ValueError  # in place of what ends it


async def hold(slots: Slots, until: Until = for_ever) -> None:
    assert await slots.acquire()
    try:
        await until()
    finally:
        slots.release()


def stopped(
    slots: Slots, count: int, until: Until = for_ever
) -> tuple[asyncio.AbstractEventLoop, list[asyncio.Task[None]]]:
    """Return a loop that stands still, and its tasks, each of which holds a slot."""
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(hold(slots, until)) for _ in range(count)]
    for task in tasks:
        task._log_destroy_pending = False
    loop.call_soon(loop.stop)
    loop.run_forever()
    return loop, tasks


@pytest.mark.parametrize("ask", [lambda slots: asyncio.run(slots.acquire()), Slots.reserve])
def test_what_a_closed_loop_held_is_free(ask):
    slots = Slots(2, 0)
    loop, tasks = stopped(slots, 2)
    assert ask(slots) is False
    loop.close()
    assert ask(slots) is True
    assert not any(task.done() for task in tasks)


def test_those_who_stand_in_line_get_it_first():
    async def main() -> None:
        slots = Slots(2, 10)
        loop, tasks = await asyncio.to_thread(stopped, slots, 2)
        waiters = await stand_in_line(slots, 3)
        loop.close()
        late = asyncio.create_task(slots.acquire())
        await until(lambda: all(waiter.done() for waiter in waiters[:2]))
        assert (slots.taken, slots.waiting) == (2, 2)
        for _ in range(2):
            slots.release()
        assert await asyncio.gather(waiters[2], late) == [True] * 2
        for _ in range(2):
            slots.release()
        assert (slots.taken, slots.waiting) == (0, 0)
        assert not any(task.done() for task in tasks)

    asyncio.run(main())


@pytest.mark.parametrize("until", [for_ever, failing_at_the_end])
@pytest.mark.parametrize("mine", [1, 3])
def test_who_is_collected_with_a_closed_loop_gives_nobody_elses_slot_back(monkeypatch, until, mine):
    """Where others are in the middle of their calls; before what the loop held is taken back, or after it."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)

    async def main() -> None:
        slots = Slots(3, 0)
        loop, tasks = await asyncio.to_thread(stopped, slots, 2, until)
        loop.close()
        assert [await slots.acquire() for _ in range(mine)] == [True] * mine
        assert slots.taken == 3
        tasks.clear()
        gc.collect()
        assert slots.taken == mine
        for left in reversed(range(mine)):
            slots.release()
            assert slots.taken == left

    asyncio.run(main())


def test_who_is_collected_on_a_loop_that_runs_gives_his_own_back():
    async def main() -> None:
        slots = Slots(1, 0)
        forgotten = hold(slots)
        forgotten.send(None)
        assert slots.taken == 1
        forgotten.close()  # as the collection does it
        assert slots.taken == 0

    asyncio.run(main())


def test_one_cap_for_all_loops_and_threads():
    slots, inside, most, faults = Slots(4, 1000), [], [], []
    barrier = threading.Barrier(6)

    async def work() -> None:
        assert await slots.acquire()
        inside.append(None)
        most.append(len(inside))
        await asyncio.sleep(0)
        inside.pop()
        slots.release()

    async def main() -> None:
        for _ in range(5):
            await asyncio.gather(*(work() for _ in range(20)))

    def thread() -> None:
        barrier.wait(PATIENCE)
        try:
            asyncio.run(main())
        except BaseException as exc:
            faults.append(exc)

    threads = [threading.Thread(target=thread) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(PATIENCE)
    assert faults == []
    assert len(most) == 600
    assert max(most) <= 4
    assert (slots.taken, slots.waiting) == (0, 0)


def test_a_slot_comes_from_another_loop(elsewhere):
    slots = Slots(1, 3)
    elsewhere.run_until_complete(slots.acquire())

    async def main() -> None:
        (waiter,) = await stand_in_line(slots, 1)
        await asyncio.to_thread(slots.release)
        assert await asyncio.wait_for(waiter, PATIENCE) is True
        slots.release()

    asyncio.run(main())
    assert slots.taken == 0


def test_a_child_starts_with_all_slots():
    async def main() -> None:
        slots = Slots(2, 3)
        for _ in range(2):
            await slots.acquire()
        (waiter,) = await stand_in_line(slots, 1)
        await asyncio.to_thread(slots._lock.acquire)  # a thread that the child has not
        slots._reserved = 1
        slots.begin_anew()
        assert (slots.taken, slots.waiting) == (0, 0)
        waiter.cancel()  # the parent's tasks end in the child, sooner or later
        await asyncio.gather(waiter, return_exceptions=True)
        for _ in range(2):
            slots.release()
        assert slots.taken == 0  # and have nothing to give back here
        assert [await slots.acquire() for _ in range(2)] == [True] * 2
        assert slots.taken == 2

    asyncio.run(main())


FORK = """
    import asyncio, os, threading
    from fbguard.core.slots import Slots

    slots, loop = Slots(1, 0), asyncio.new_event_loop()
    loop.run_until_complete(slots.acquire())
    holder = threading.Thread(target=slots._lock.acquire)
    holder.start()
    holder.join()
    if os.fork() == 0:
        print("child", slots.taken, asyncio.run(slots.acquire()), slots.taken, flush=True)
        os._exit(0)
    os.wait()
    slots._lock = threading.RLock()
    print("parent", slots.taken, asyncio.run(slots.acquire()), flush=True)
    loop.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_fork():
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(FORK)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.stdout.splitlines(), done.stderr) == (["child 0 True 1", "parent 1 False"], "")
