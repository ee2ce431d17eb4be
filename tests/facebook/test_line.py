"""Look-ups that wait for a slot go out together, and nobody is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from fbguard.core.breaker import SHORTEST
from fbguard.core.governor import FULL, Governor
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.facebook import line as module
from fbguard.facebook.batch import MAX_ITEMS
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.graph import Outcome
from fbguard.facebook.line import Line
from tests.support import PATIENCE, FakeClock, until

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

Asked = Sequence[tuple[Secret, str]]


@dataclass
class Graph:
    """Answers each token with a Finding that names it, once the gate is open."""

    calls: list[list[str]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    error: BaseException | None = None

    async def __call__(self, asked: Asked) -> list[Outcome | None]:
        self.calls.append([fingerprint for _, fingerprint in asked])
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return [Finding(fingerprint) for _, fingerprint in asked]


class Street:
    """A line before a governor; ``async with`` it holds all the slots there are."""

    def __init__(self, clock: FakeClock, **options: object) -> None:
        usual = {"max_in_flight": 1, "max_queued": 1000, "max_calls_per_second": None, "patience": PATIENCE}
        self.size = int(str((usual | options)["max_in_flight"]))
        self.governor = Governor(clock, **(usual | options))
        self.graph = Graph()
        self.line = Line(self.governor, self.graph)
        self.tasks: list[asyncio.Task[Outcome | None]] = []

    async def block(self) -> None:
        for _ in range(self.size):
            assert await self.governor._slots.acquire()

    def free(self, count: int = 1) -> None:
        for _ in range(count):
            self.governor._slots.release()

    async def queue(self, count: int) -> None:
        """Let so many more stand in the line, one behind the other."""
        for _ in range(count):
            number = len(self.tasks)
            self.tasks.append(asyncio.create_task(self.line.ask(Secret(f"EAA{number}"), f"{number}")))
        await until(lambda: len(self.line._waiting) >= count or all(task.done() for task in self.tasks))
        for _ in range(3):
            await asyncio.sleep(0)  # the porters have got in line, too

    async def over(self) -> None:
        """Check that nothing is left of all this."""
        await until(lambda: not self.line._porters)
        assert (self.governor.in_flight, self.governor._slots.waiting) == (0, 0)
        assert (len(self.line._waiting), len(self.line._idle)) == (0, 0)


def reasons(outcomes: Sequence[object]) -> list[str]:
    return [outcome.reason for outcome in outcomes if isinstance(outcome, Finding)]


def test_who_waits_goes_out_together(clock):
    async def main() -> None:
        street = Street(clock)
        await street.block()
        await street.queue(20)
        assert street.graph.calls == []
        street.free()
        street.graph.open.set()
        assert reasons(await asyncio.gather(*street.tasks)) == [str(number) for number in range(20)]
        assert street.graph.calls == [[str(number) for number in range(20)]]
        await street.over()

    asyncio.run(main())


@pytest.mark.parametrize("count", [1, 49, 50, 51, 100, 125])
def test_fifty_at_most_in_the_order_they_came(clock, count):
    async def main() -> None:
        street = Street(clock)
        await street.block()
        await street.queue(count)
        street.graph.open.set()
        street.free()
        await asyncio.gather(*street.tasks)
        assert [number for call in street.graph.calls for number in call] == [str(n) for n in range(count)]
        assert len(street.graph.calls) == -(-count // MAX_ITEMS)
        assert max(map(len, street.graph.calls)) <= MAX_ITEMS
        await street.over()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("waited", "sizes", "first"), [(1.0, [50, 20], 0), (1.01, [50, 20], 69)], ids=["patient", "impatient"]
)
def test_once_the_first_has_lost_patience_the_last_goes_first(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, waited: float, sizes: list[int], first: int
) -> None:
    monkeypatch.setattr(module, "time", clock)

    async def main() -> None:
        street = Street(clock, patience=4.0)
        await street.block()
        await street.queue(1)
        clock.advance(waited)
        await street.queue(69)
        street.graph.open.set()
        street.free()
        assert reasons(await asyncio.gather(*street.tasks)) == [str(number) for number in range(70)]
        assert [len(call) for call in street.graph.calls] == sizes
        assert street.graph.calls[0][0] == str(first)
        order = [int(number) for call in street.graph.calls for number in call]
        assert order == sorted(order, reverse=first > 0)
        await street.over()

    asyncio.run(main())


def test_when_those_without_patience_have_left_the_first_goes_first_again(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "time", clock)

    async def main() -> None:
        street = Street(clock, patience=4.0)
        await street.block()
        await street.queue(2)
        clock.advance(3)
        await street.queue(3)
        for task in street.tasks[:2]:
            task.cancel()
        await asyncio.gather(*street.tasks[:2], return_exceptions=True)
        street.graph.open.set()
        street.free()
        await asyncio.gather(*street.tasks[2:])
        assert street.graph.calls == [["2", "3", "4"]]
        await street.over()

    asyncio.run(main())


def test_every_slot_is_used(clock):
    async def main() -> None:
        street = Street(clock, max_in_flight=3)
        await street.block()
        await street.queue(150)
        street.free(3)
        await until(lambda: len(street.graph.calls) == 3)
        assert street.governor.in_flight == 3
        street.graph.open.set()
        assert len(await asyncio.gather(*street.tasks)) == 150
        await street.over()

    asyncio.run(main())


def test_who_comes_while_a_batch_is_under_way_takes_the_next(clock):
    async def main() -> None:
        street = Street(clock)
        await street.block()
        await street.queue(2)
        street.free()
        await until(lambda: street.graph.calls)
        await street.queue(3)
        assert street.graph.calls == [["0", "1"]]
        street.graph.open.set()
        await asyncio.gather(*street.tasks)
        assert street.graph.calls == [["0", "1"], ["2", "3", "4"]]
        await street.over()

    asyncio.run(main())


def test_the_line_has_an_end(clock):
    async def main() -> None:
        street = Street(clock, max_queued=3)
        await street.block()
        await street.queue(3)
        assert await street.line.ask(Secret("EAAlate"), "late") == FULL
        assert await street.governor._slots.acquire() is False  # for those who ask alone, too
        street.graph.open.set()
        street.free()
        await asyncio.gather(*street.tasks)
        assert [len(call) for call in street.graph.calls] == [3]
        await street.over()

    asyncio.run(main())


def test_who_leaves_the_line_gives_the_place_back(clock):
    async def main() -> None:
        street = Street(clock, max_queued=3)
        await street.block()
        for _ in range(5):
            await street.queue(2)
            for task in street.tasks:
                task.cancel()
            await asyncio.gather(*street.tasks, return_exceptions=True)
            street.tasks.clear()
        street.free()
        await street.over()

    asyncio.run(main())


def test_porters_take_no_place_of_those_who_wait(clock):
    async def main() -> None:
        street = Street(clock, max_queued=3)
        await street.block()
        for _ in range(3):
            await street.queue(1)  # the porter of the first stands in the line, too
        street.graph.open.set()
        street.free()
        assert reasons(await asyncio.gather(*street.tasks)) == ["0", "1", "2"]
        await street.over()

    asyncio.run(main())


@pytest.mark.parametrize("leavers", [[0], [1], [2], [0, 1, 2]])
def test_who_is_cancelled_leaves_the_line(clock, leavers):
    async def main() -> None:
        street = Street(clock)
        await street.block()
        await street.queue(3)
        for number in leavers:
            street.tasks[number].cancel()
        await until(lambda: all(street.tasks[number].done() for number in leavers))
        assert len(street.line._waiting) == 3 - len(leavers)
        street.graph.open.set()
        street.free()
        await asyncio.gather(*street.tasks, return_exceptions=True)
        stayed = [str(number) for number in range(3) if number not in leavers]
        assert street.graph.calls == ([stayed] if stayed else [])
        await street.over()

    asyncio.run(main())


def test_who_is_cancelled_on_the_way_harms_nobody(clock):
    async def main() -> None:
        street = Street(clock)
        await street.block()
        await street.queue(3)
        street.free()
        await until(lambda: street.graph.calls)
        street.tasks[1].cancel()
        await until(street.tasks[1].done)
        street.graph.open.set()
        outcomes = await asyncio.gather(street.tasks[0], street.tasks[2])
        assert reasons(outcomes) == ["0", "2"]
        await street.over()

    asyncio.run(main())


@pytest.mark.parametrize(("rate", "sizes"), [(20, [2, 2, 2, 2]), (35, [3, 3, 2]), (5, [1] * 8), (0.5, [1])])
def test_under_a_pace_a_batch_is_no_burst(clock, monkeypatch, rate, sizes):
    from fbguard.core import governor

    naps: list[float] = []
    turn = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            naps.append(seconds)
            clock.advance(seconds)
        await turn(0)

    monkeypatch.setattr(governor.asyncio, "sleep", sleep)

    async def main() -> None:
        street = Street(clock, max_calls_per_second=rate)
        await street.block()
        await street.queue(sum(sizes))
        street.graph.open.set()
        street.free()
        await asyncio.gather(*street.tasks)
        assert [len(call) for call in street.graph.calls] == sizes
        assert naps == pytest.approx([size / rate for size in sizes[:-1]])
        await street.over()

    asyncio.run(main())


def test_who_cannot_be_asked_for_in_time_hears_it_at_once(clock):
    async def main() -> None:
        street = Street(clock, max_calls_per_second=1, patience=3)
        await street.governor.clearance(100)  # the pace is booked out
        await street.block()
        await street.queue(5)
        street.free()
        assert await asyncio.gather(*street.tasks) == [Finding("unavailable", retry_after=100)] * 5
        assert street.graph.calls == []
        await street.over()

    asyncio.run(main())


# -- who starts together ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slots", "count", "sizes"),
    [
        (4, 3, [1] * 3),
        (4, 4, [1] * 4),
        (4, 5, [5]),
        (4, 50, [50]),
        (4, 60, [30, 30]),
        (4, 200, [50] * 4),
        (1, 60, [50, 10]),
    ],
)
def test_as_few_calls_as_it_takes_once_they_are_more_than_slots(
    clock: FakeClock, slots: int, count: int, sizes: list[int]
) -> None:
    async def main() -> None:
        street = Street(clock, max_in_flight=slots)
        street.graph.open.set()
        asks = (street.line.ask(Secret(f"EAA{number}"), f"{number}") for number in range(count))
        assert reasons(await asyncio.gather(*asks)) == [str(number) for number in range(count)]
        assert [len(call) for call in street.graph.calls] == sizes
        await street.over()

    asyncio.run(main())


def test_who_finds_a_free_slot_is_asked_for_in_the_next_turn(clock):
    async def main() -> None:
        street = Street(clock, max_in_flight=2)
        for number in range(2):
            street.tasks.append(asyncio.create_task(street.line.ask(Secret("EAA"), f"{number}")))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert len(street.graph.calls) == number + 1
        street.graph.open.set()
        await asyncio.gather(*street.tasks)
        await street.over()

    asyncio.run(main())


def test_who_must_wait_needs_one_porter_for_fifty(clock):
    async def main() -> None:
        street = Street(clock)
        await street.block()
        for _ in range(120):
            await street.queue(1)
        assert len(street.line._porters) == 3
        street.graph.open.set()
        street.free()
        await asyncio.gather(*street.tasks)
        assert [len(call) for call in street.graph.calls] == [50, 50, 20]
        await street.over()

    asyncio.run(main())


def test_a_free_slot_is_a_place_in_a_full_line(clock):
    async def main() -> None:
        street = Street(clock, max_in_flight=2, max_queued=1)
        street.graph.open.set()
        asks = [street.line.ask(Secret(f"EAA{number}"), f"{number}") for number in range(4)]
        assert reasons(await asyncio.gather(*asks)) == ["0", "1", "2", "unavailable"]
        await street.over()

    asyncio.run(main())


# -- while Graph is left alone -----------------------------------------------------------------------------


def test_everybody_is_turned_away_when_graph_begins_to_throttle(clock):
    async def main() -> None:
        street = Street(clock)
        await street.block()
        await street.queue(120)
        street.governor.throttled(4, None)
        street.free()
        held = Finding("throttled", 4, retry_after=2)
        assert await asyncio.gather(*street.tasks) == [held] * 120
        assert street.graph.calls == []
        await street.over()

    asyncio.run(main())


def test_nobody_waits_while_graph_is_left_alone(clock):
    async def main() -> None:
        street = Street(clock)
        await street.block()
        street.governor.throttled(4, None)
        await street.queue(3)
        assert await asyncio.gather(*street.tasks) == [Finding("throttled", 4, retry_after=2)] * 3
        street.free()
        await street.over()

    asyncio.run(main())


def test_a_probe_goes_alone(clock):
    async def main() -> None:
        street = Street(clock)
        street.governor.throttled(4, None)
        clock.advance(SHORTEST)
        await street.block()
        await street.queue(5)
        street.graph.open.set()
        street.free()
        outcomes = await asyncio.gather(*street.tasks)
        assert reasons(outcomes) == ["0", *["throttled"] * 4]
        assert street.graph.calls == [["0"]]
        await street.over()

    asyncio.run(main())


# -- when it goes wrong ------------------------------------------------------------------------------------


def test_the_deadline_of_a_porter(clock):
    async def main() -> None:
        street = Street(clock, patience=0.05)
        await street.block()
        await street.queue(3)
        street.free()
        assert await asyncio.gather(*street.tasks) == [UNAVAILABLE] * 3
        assert street.graph.calls == [["0", "1", "2"]]
        await street.over()

    asyncio.run(main())


@pytest.mark.parametrize("error", [ZeroDivisionError(), asyncio.CancelledError()], ids=repr)
def test_a_call_that_fails_leaves_nobody_waiting(clock, error, caplog):
    async def main() -> None:
        street = Street(clock)
        street.graph.error = error
        await street.block()
        await street.queue(3)
        street.graph.open.set()
        street.free()
        porters = list(street.line._porters)
        assert await asyncio.gather(*street.tasks) == [UNAVAILABLE] * 3
        await asyncio.gather(*porters, return_exceptions=True)
        await street.over()

    asyncio.run(main())


def test_a_porter_who_is_cancelled_before_his_first_step_keeps_no_other_from_coming(clock):
    async def main() -> None:
        street = Street(clock)
        street.graph.open.set()
        first = asyncio.create_task(street.line.ask(Secret("EAA"), "first"))
        await until(lambda: street.line._porters)
        for porter in street.line._porters:
            porter.cancel()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = asyncio.wait_for(street.line.ask(Secret("EAA"), "second"), PATIENCE)
        assert reasons([await second]) == ["second"]
        await street.over()

    asyncio.run(main())


def test_closing_calls_the_porters_back(clock):
    async def main() -> None:
        street = Street(clock)
        await street.block()
        await street.queue(60)
        street.free()
        await until(lambda: street.graph.calls)
        for task in street.tasks:
            task.cancel()
        await street.line.aclose()
        await asyncio.gather(*street.tasks, return_exceptions=True)
        await street.over()

    asyncio.run(main())


def test_closing_ends_who_is_asked_for(clock):
    async def main() -> None:
        street = Street(clock)
        await street.block()
        await street.queue(2)
        street.free()
        await until(lambda: street.graph.calls)
        await street.line.aclose()
        assert await asyncio.gather(*street.tasks) == [UNAVAILABLE] * 2
        await street.over()

    asyncio.run(main())


def test_a_child_forgets_the_porters(clock):
    async def main() -> None:
        street = Street(clock)
        await street.block()
        await street.queue(2)
        porters = list(street.line._porters)
        street.line.abandon()
        assert not street.line._porters
        assert not any(porter.done() for porter in porters)
        for one in [*porters, *street.tasks]:
            one.cancel()
        await asyncio.gather(*porters, *street.tasks, return_exceptions=True)

    asyncio.run(main())


def test_a_porter_knows_nothing_of_the_asker(clock):
    """Its context would keep the asker's request alive, and whoever comes later would find it there."""
    from contextvars import ContextVar

    request: ContextVar[str] = ContextVar("request")
    seen: list[str | None] = []

    async def main() -> None:
        street = Street(clock)

        async def look(asked: Asked) -> list[Outcome | None]:
            seen.append(request.get(None))
            return [UNAVAILABLE for _ in asked]

        street.line = Line(street.governor, look)
        request.set("with its headers")
        await street.block()
        await street.queue(1)
        street.free()
        await asyncio.gather(*street.tasks)

    asyncio.run(main())
    assert seen == [None]
