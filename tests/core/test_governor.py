"""Pace, slots, usage and back-off in front of Graph."""

from __future__ import annotations

import asyncio

import pytest

from fbguard.core import governor as module
from fbguard.core.governor import Governor
from fbguard.core.reasons import Finding
from tests.support import FakeClock, until

pytestmark = pytest.mark.usefixtures("quiet_asyncio")


@pytest.fixture
def slept(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let sleepers wake at once, the clock having moved; gives how long each slept."""
    naps: list[float] = []
    turn = asyncio.sleep

    async def sleep(seconds: float) -> None:
        naps.append(seconds)
        clock.advance(seconds)
        await turn(0)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    return naps


def make(clock: FakeClock, **options: object) -> Governor:
    usual = {"max_in_flight": 10, "max_queued": 10, "max_calls_per_second": None, "patience": 3.0}
    return Governor(clock, **(usual | options))


async def call(governor: Governor) -> Finding | None:
    async with governor.call() as held:
        return held


def calls(governor: Governor, count: int) -> list[Finding | None]:
    async def main() -> list[Finding | None]:
        return [await call(governor) for _ in range(count)]

    return asyncio.run(main())


def test_without_a_limit_nobody_waits(clock, slept):
    governor = make(clock)
    assert calls(governor, 50) == [None] * 50
    assert slept == []
    assert governor.in_flight == 0


def test_calls_are_spaced(clock, slept):
    governor, start = make(clock, max_calls_per_second=4), clock.mono
    assert calls(governor, 9) == [None] * 9
    assert slept == pytest.approx([0.25] * 8)
    assert clock.mono - start == pytest.approx(2)


def test_a_pause_saves_up_no_burst(clock, slept):
    governor = make(clock, max_calls_per_second=4)
    assert calls(governor, 1) == [None]
    clock.advance(60)
    calls(governor, 4)
    assert slept == pytest.approx([0.25] * 3)


def test_part_of_the_pause_has_passed(clock, slept):
    governor = make(clock, max_calls_per_second=4)
    calls(governor, 1)
    clock.advance(0.1)
    calls(governor, 1)
    assert slept == pytest.approx([0.15])


def test_nobody_waits_longer_than_anybody_has_patience(clock, monkeypatch):
    async def main() -> None:
        pace = make(clock, max_calls_per_second=1, max_in_flight=100, patience=3.0)
        asleep, turn = [], asyncio.sleep

        async def sleep(seconds: float) -> None:
            asleep.append(seconds)
            await forever.wait()

        forever = asyncio.Event()
        monkeypatch.setattr(module.asyncio, "sleep", sleep)
        tasks = [asyncio.create_task(call(pace)) for _ in range(6)]
        for _ in range(5):
            await turn(0)
        assert asleep == [1, 2, 3]
        refused = [task.result() for task in tasks if task.done()][1:]
        assert refused == [Finding("unavailable", retry_after=4)] * 2  # and took no place in the pace
        forever.set()
        assert (await asyncio.gather(*tasks)).count(None) == 4
        assert pace.in_flight == 0

    asyncio.run(main())


def test_a_machine_set_back_does_not_wait(clock, slept):
    governor = make(clock, max_calls_per_second=1)
    calls(governor, 2)
    clock.mono = 1.0
    assert calls(governor, 2) == [None] * 2
    assert slept == pytest.approx([1, 1])


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), asyncio.CancelledError(), KeyboardInterrupt()], ids=repr
)
def test_a_call_that_raises_frees_its_slot(clock, error):
    async def main() -> None:
        governor = make(clock)

        async def fail() -> None:
            async with governor.call() as held:
                assert (held, governor.in_flight) == (None, 1)
                raise error

        with pytest.raises(type(error)):
            await fail()
        assert governor.in_flight == 0

    asyncio.run(main())


def test_cancelled_while_it_keeps_pace(clock):
    async def main() -> None:
        governor = make(clock, max_calls_per_second=0.5)
        await call(governor)
        task = asyncio.create_task(call(governor))
        await until(lambda: governor.in_flight)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert governor.in_flight == 0

    asyncio.run(main())


def test_cancelled_in_the_line(clock):
    async def main() -> None:
        governor = make(clock, max_in_flight=1)
        async with governor.call():
            task = asyncio.create_task(call(governor))
            await until(lambda: governor._slots.waiting)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (governor.in_flight, governor._slots.waiting) == (1, 0)
        assert governor.in_flight == 0

    asyncio.run(main())


def test_a_full_line(clock):
    async def main() -> None:
        governor = make(clock, max_in_flight=1, max_queued=1)
        async with governor.call():
            waiter = asyncio.create_task(call(governor))
            await until(lambda: governor._slots.waiting)
            assert await call(governor) == Finding("unavailable", retry_after=1)
            assert governor.in_flight == 1
        assert await waiter is None
        assert governor.in_flight == 0

    asyncio.run(main())


def test_a_child_takes_a_new_lock(clock):
    governor = make(clock, max_calls_per_second=1)
    governor._lock.acquire()  # by a thread that the child has not
    governor.renew_lock()
    assert calls(governor, 1) == [None]
