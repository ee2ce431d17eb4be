"""Slots, breaker, back-off and pace in front of Graph."""

from __future__ import annotations

import asyncio
import math

import pytest

from fbguard.core import governor as module
from fbguard.core.breaker import BURST, PROBE_EVERY, SHORTEST
from fbguard.core.governor import FULL, Governor
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
    async with governor.slot() as refused:
        return refused or await governor.clearance()


def calls(governor: Governor, count: int) -> list[Finding | None]:
    async def main() -> list[Finding | None]:
        return [await call(governor) for _ in range(count)]

    return asyncio.run(main())


def test_without_a_limit_nobody_waits(clock, slept):
    governor = make(clock)
    assert calls(governor, 50) == [None] * 50
    assert slept == []
    assert (governor.in_flight, governor.hold()) == (0, None)


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


def test_nobody_waits_for_the_pace_longer_than_half_the_patience(clock, monkeypatch):
    async def main() -> None:
        pace = make(clock, max_calls_per_second=1, max_in_flight=100, patience=6.0)
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


@pytest.mark.parametrize(("rate", "expected"), [(0.5, None), (0.49, Finding("unavailable", retry_after=3))])
def test_half_the_patience_is_left_for_the_call(clock, slept, rate, expected):
    governor = make(clock, max_calls_per_second=rate, patience=4.0)
    assert calls(governor, 2) == [None, expected]
    assert slept == ([2] if expected is None else [])


def test_who_has_waited_a_quarter_of_the_patience_lets_others_go_first(clock, monkeypatch):
    from fbguard.core import slots

    monkeypatch.setattr(slots, "time", clock)

    async def main() -> None:
        governor, order = make(clock, max_in_flight=1, patience=4.0), []

        async def work(number: int) -> None:
            async with governor.slot() as refused:
                assert refused is None
                order.append(number)

        async with asyncio.TaskGroup() as group, governor.slot():
            for number in range(4):
                group.create_task(work(number))
                await until(lambda number=number: governor._slots.waiting == number + 1)
                clock.advance(1.01 if number == 0 else 0)
        assert order == [3, 2, 1, 0]
        assert governor.in_flight == 0

    asyncio.run(main())


def test_what_was_under_way_when_graph_began_to_throttle_ends_no_back_off(clock):
    governor = make(clock)
    before = governor.era
    governor.throttled(17, 300)
    governor.answered(before)
    assert governor.hold() == Finding("throttled", 17, retry_after=300)
    assert calls(governor, 1) == [Finding("throttled", 17, retry_after=300)]
    clock.advance(300)
    assert calls(governor, 1) == [None]
    governor.answered(governor.era)
    assert calls(governor, 3) == [None] * 3


def test_a_machine_set_back_does_not_wait(clock, slept):
    governor = make(clock, max_calls_per_second=1)
    calls(governor, 2)
    clock.mono = 1.0
    assert calls(governor, 2) == [None] * 2
    assert slept == pytest.approx([1, 1])


@pytest.mark.parametrize(("percent", "interval"), [(80, 0.01), (90, 0.02), (95, 0.04), (99, 0.2)])
def test_near_graphs_limit_calls_are_spaced(clock, slept, percent, interval):
    governor = make(clock)

    async def main() -> None:
        for _ in range(2000):
            clock.advance(0.01)
            await call(governor)
        governor.used(percent)
        slept.clear()
        for _ in range(3):
            await call(governor)

    asyncio.run(main())
    assert slept == pytest.approx([interval] * 2, rel=0.01)


def test_a_caller_without_the_patience_hears_that_graph_slows_us(clock):
    governor = make(clock, patience=0.1)
    governor.used(99)
    assert calls(governor, 2) == [None, Finding("throttled", retry_after=1)]
    governor = make(clock, patience=0.1, max_calls_per_second=1)
    assert calls(governor, 2) == [None, Finding("unavailable", retry_after=1)]


def test_throttled(clock):
    governor = make(clock)
    assert governor.throttled(17, None) == 2
    clock.advance(0.5)
    said = Finding("throttled", 17, retry_after=2)  # 1.5, in whole seconds
    assert calls(governor, 2) == [said] * 2
    clock.advance(1.49)
    assert calls(governor, 1) == [Finding("throttled", 17, retry_after=1)]
    clock.advance(0.01)
    assert calls(governor, 1) == [None]


@pytest.mark.parametrize("seconds", [0.001, 0.5, 1, 1.5, 59.9])
def test_retry_after_is_whole_seconds(clock, seconds):
    governor = make(clock)
    said = governor.throttled(4, seconds)
    assert (said, type(said)) == (max(math.ceil(seconds), 1), int)
    (held,) = calls(governor, 1)
    assert (held.retry_after, type(held.retry_after)) == (said, int)


def test_after_failures(clock):
    governor = make(clock)
    for _ in range(BURST):
        assert governor.hold() is None
        governor.failed()
    assert calls(governor, 3) == [Finding("unavailable", retry_after=1)] * 3
    clock.advance(PROBE_EVERY)
    assert calls(governor, 2) == [None, Finding("unavailable", retry_after=1)]
    governor.answered(governor.era)
    assert calls(governor, 3) == [None] * 3


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), asyncio.CancelledError(), KeyboardInterrupt()], ids=repr
)
def test_a_call_that_raises_frees_its_slot(clock, error):
    async def main() -> None:
        governor = make(clock)

        async def fail() -> None:
            async with governor.slot() as refused:
                assert (refused, governor.in_flight) == (None, 1)
                raise error

        with pytest.raises(type(error)):
            await fail()
        assert governor.in_flight == 0

    asyncio.run(main())


def test_a_held_call_frees_its_slot(clock):
    governor = make(clock, max_in_flight=1)
    governor.throttled(4, None)
    calls(governor, 3)
    assert governor.in_flight == 0


def test_cancelled_while_it_keeps_pace(clock):
    async def main() -> None:
        governor = make(clock, max_calls_per_second=0.5, patience=6.0)
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
        async with governor.slot():
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
        async with governor.slot():
            waiter = asyncio.create_task(call(governor))
            await until(lambda: governor._slots.waiting)
            assert await call(governor) == Finding("unavailable", retry_after=1)
            assert governor.in_flight == 1
        assert await waiter is None
        assert governor.in_flight == 0

    asyncio.run(main())


def test_who_waited_in_line_hears_what_has_happened_meanwhile(clock):
    async def main() -> None:
        governor = make(clock, max_in_flight=1)
        async with governor.slot():
            waiters = [asyncio.create_task(call(governor)) for _ in range(3)]
            await until(lambda: governor._slots.waiting == 3)
            governor.throttled(4, None)
        assert await asyncio.gather(*waiters) == [Finding("throttled", 4, retry_after=2)] * 3
        clock.advance(SHORTEST)
        assert await call(governor) is None

    asyncio.run(main())


def test_who_kept_pace_hears_what_has_happened_meanwhile(clock, monkeypatch):
    async def main() -> None:
        governor = make(clock, max_calls_per_second=1)
        turn = asyncio.sleep

        async def sleep(seconds: float) -> None:
            governor.throttled(4, None)
            await turn(0)

        await call(governor)
        monkeypatch.setattr(module.asyncio, "sleep", sleep)
        assert await call(governor) == Finding("throttled", 4, retry_after=2)
        assert governor.in_flight == 0

    asyncio.run(main())


def test_while_graph_is_left_alone_nobody_stands_in_line(clock):
    async def main() -> None:
        governor = make(clock, max_in_flight=1)
        async with governor.slot():
            governor.throttled(4, None)
            assert await call(governor) == Finding("throttled", 4, retry_after=2)
            assert (governor.in_flight, governor._slots.waiting) == (1, 0)

    asyncio.run(main())


def test_looking_takes_no_probe(clock):
    governor = make(clock)
    governor.throttled(4, None)
    assert governor.hold() == Finding("throttled", 4, retry_after=2)
    clock.advance(SHORTEST)
    assert [governor.hold() for _ in range(3)] == [None] * 3
    assert calls(governor, 2) == [None, Finding("throttled", 4, retry_after=2)]


def test_a_slot_that_is_not_used_takes_no_probe(clock):
    async def main() -> None:
        governor = make(clock)
        governor.throttled(4, None)
        clock.advance(SHORTEST)
        async with governor.slot() as refused:
            assert refused is None
        assert await call(governor) is None

    asyncio.run(main())


def test_a_probe_keeps_pace_and_is_made(clock, slept):
    governor = make(clock, max_calls_per_second=0.5)
    calls(governor, 1)
    governor.throttled(4, 1.5)
    clock.advance(1.5)
    assert calls(governor, 1) == [None]  # it has claimed the probe before it slept
    assert slept == pytest.approx([0.5])
    assert calls(governor, 1) == [Finding("throttled", 4, retry_after=2)]


def test_a_call_that_nobody_has_patience_for_is_not_booked(clock, slept):
    governor = make(clock, max_calls_per_second=1, patience=3)

    async def main() -> None:
        async with governor.slot():
            assert await governor.clearance(50) is None
            assert await governor.clearance() == Finding("unavailable", retry_after=50)
            clock.advance(50)
            assert await governor.clearance() is None

    asyncio.run(main())
    assert slept == []


@pytest.mark.parametrize(("rate", "at_once"), [(None, math.inf), (0.5, 1), (200, 20)])
def test_how_many_look_ups_one_call_may_carry(clock, rate, at_once):
    governor = make(clock, max_calls_per_second=rate)
    assert governor.most_at_once == at_once
    governor.throttled(4, None)
    clock.advance(SHORTEST)
    assert governor.most_at_once == 1  # Graph is being probed
    governor.answered(governor.era)
    assert governor.most_at_once == at_once
    for _ in range(BURST):
        governor.failed()
    assert governor.most_at_once == 1


def test_who_waits_elsewhere_has_a_place_in_the_line(clock):
    async def main() -> None:
        governor = make(clock, max_in_flight=1, max_queued=2)
        async with governor.slot():
            assert governor.free == 0
            assert [governor.reserve() for _ in range(3)] == [True, True, False]
            assert await call(governor) == FULL
            async with asyncio.TaskGroup() as group:
                porter = group.create_task(enter(governor))
                await until(lambda: governor._slots._line)
                porter.cancel()
            governor.unreserve()
            waiter = asyncio.create_task(call(governor))
            await until(lambda: governor._slots.waiting == 2)
        assert await waiter is None
        governor.unreserve()
        assert governor.free == 1
        assert governor._slots.waiting == 0

    async def enter(governor: Governor) -> None:
        async with governor.slot(for_reserved=True) as refused:
            assert refused is None

    asyncio.run(main())
