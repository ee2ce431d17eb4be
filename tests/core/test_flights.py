"""Single-flight on one loop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import ContextVar

import pytest

from fbguard.core.flights import Flights
from tests.support import PATIENCE, MovableLoop, until

pytestmark = pytest.mark.usefixtures("quiet_asyncio")
KEY, OTHER = b"key", b"other"
ambient: ContextVar[str] = ContextVar("ambient", default="nothing")


class LookUp:
    def __init__(self) -> None:
        self.count = 0
        self.go = asyncio.Event()
        self.outcome: object = "found"
        self.context = ""

    async def __call__(self) -> object:
        self.count += 1
        self.context = ambient.get()
        await self.go.wait()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def run(main) -> None:
    with asyncio.Runner(loop_factory=MovableLoop) as runner:
        runner.run(main())


def ask(flights: Flights, look_up: LookUp, count: int = 1, key: bytes = KEY) -> list[asyncio.Task]:
    return [asyncio.create_task(flights.ask(key, look_up)) for _ in range(count)]


def timers(loop: asyncio.AbstractEventLoop) -> list[asyncio.TimerHandle]:
    """Return the timers that are set; asyncio's own debug helpers know of none."""
    return [timer for timer in loop._scheduled if not timer.cancelled()]


def test_one_look_up_for_all():
    async def main() -> None:
        flights, look_up = Flights(3), LookUp()
        tasks = ask(flights, look_up, 500)
        await until(lambda: look_up.count)
        assert len(flights) == 1
        look_up.go.set()
        assert await asyncio.gather(*tasks) == ["found"] * 500
        assert (look_up.count, len(flights)) == (1, 0)

    run(main)


def test_keys_fly_apart():
    async def main() -> None:
        flights, look_up = Flights(3), LookUp()
        tasks = ask(flights, look_up) + ask(flights, look_up, key=OTHER)
        await until(lambda: look_up.count == 2)
        look_up.go.set()
        await asyncio.gather(*tasks)
        assert look_up.count == 2

    run(main)


def test_nothing_is_kept():
    async def main() -> None:
        flights, look_up = Flights(3), LookUp()
        look_up.go.set()
        for count in (1, 2):
            assert await flights.ask(KEY, look_up) == "found"
            assert (look_up.count, len(flights)) == (count, 0)

    run(main)


def test_nobody_joins_a_flight_that_is_over():
    """It has landed, and nobody has heard of it yet; what happened since then it has not seen."""

    async def main() -> None:
        flights, look_up, later = Flights(3), LookUp(), LookUp()
        late: list[asyncio.Task] = []
        later.outcome = "found later"
        later.go.set()

        async def found() -> object:
            outcome = await look_up()
            asyncio.get_running_loop().call_soon(lambda: late.extend(ask(flights, later)))
            return outcome

        first = asyncio.create_task(flights.ask(KEY, found))
        await until(lambda: look_up.count)
        look_up.go.set()
        assert await first == "found"
        assert [await task for task in late] == ["found later"]
        assert (look_up.count, later.count, len(flights)) == (1, 1, 0)

    run(main)


def test_one_timer_serves_a_flight_and_who_boards_it_at_its_start():
    async def main() -> None:
        flights, look_up, loop = Flights(3), LookUp(), asyncio.get_running_loop()
        tasks = ask(flights, look_up, 10)
        await until(lambda: look_up.count)
        assert len(timers(loop)) == 1
        tasks.append(asyncio.create_task(flights.ask(KEY, look_up, loop.time() + 1)))
        await asyncio.sleep(0)
        assert len(timers(loop)) == 2
        look_up.go.set()
        assert await asyncio.gather(*tasks) == ["found"] * 11
        assert timers(loop) == []

    run(main)


def test_nobody_waits_for_a_flight_that_is_slow_to_end():
    """Its time is up, and it has yet to clear away its things; a new one is under way meanwhile."""

    async def main() -> None:
        flights, look_up, loop = Flights(3), LookUp(), asyncio.get_running_loop()
        slow, cleared = LookUp(), asyncio.Event()

        async def clearing() -> object:
            try:
                return await slow()
            finally:
                await cleared.wait()

        early = asyncio.create_task(flights.ask(KEY, clearing))
        await until(lambda: slow.count)
        loop.advance(2)
        (late,) = ask(flights, look_up)
        await asyncio.sleep(0)
        loop.advance(1.1)
        assert await early is None
        await until(lambda: look_up.count)
        cleared.set()
        look_up.go.set()
        assert await late == "found"
        assert len(flights) == 0

    run(main)


def test_closing_waits_for_what_is_late_too():
    async def main() -> None:
        flights, loop = Flights(3), asyncio.get_running_loop()
        slow, cleared = LookUp(), []

        async def clearing() -> object:
            try:
                return await slow()
            finally:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(PATIENCE)
                cleared.append(True)

        early = asyncio.create_task(flights.ask(KEY, clearing))
        await until(lambda: slow.count)
        loop.advance(3.1)
        assert await early is None
        assert (len(flights), cleared) == (0, [])
        await flights.aclose()
        assert cleared == [True]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)


def test_closing_at_once():
    """Before the first step of the flight: then it never runs, and whoever waits hears of it all the same."""

    async def main() -> None:
        flights, look_up = Flights(3), LookUp()
        waiter = asyncio.ensure_future(flights.ask(KEY, look_up))
        await asyncio.sleep(0)
        assert (len(flights), look_up.count) == (1, 0)
        await flights.aclose()
        assert await waiter is None
        assert (len(flights), look_up.count) == (0, 0)

    run(main)


def test_one_deadline_for_several_rounds():
    async def main() -> None:
        flights, look_up, loop = Flights(3), LookUp(), asyncio.get_running_loop()
        due = flights.due()
        assert due == pytest.approx(loop.time() + 3, abs=1)
        loop.advance(2)
        task = asyncio.create_task(flights.ask(KEY, look_up, due))
        others = ask(flights, look_up)
        await until(lambda: look_up.count)
        loop.advance(1)
        await until(task.done)
        assert task.result() is None
        assert not others[0].done()  # the flight goes on
        assert await flights.ask(KEY, look_up, due) is None  # and time is up at once
        look_up.go.set()
        assert await asyncio.gather(*others) == ["found"]
        assert look_up.count == 1

    run(main)


def test_a_failure_reaches_its_flight_only():
    async def main() -> None:
        flights, look_up = Flights(3), LookUp()
        look_up.outcome = ZeroDivisionError()
        tasks = ask(flights, look_up, 5)
        await until(lambda: look_up.count)
        look_up.go.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 5
        look_up.outcome = "found"
        assert await flights.ask(KEY, look_up) == "found"
        assert len(flights) == 0

    run(main)


def test_a_failure_that_nobody_waits_for_is_quiet():
    async def main() -> None:
        flights, look_up = Flights(3), LookUp()
        look_up.outcome = ZeroDivisionError()
        (task,) = ask(flights, look_up)
        await until(lambda: look_up.count)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        look_up.go.set()
        await until(lambda: len(flights) == 0)

    run(main)


@pytest.mark.parametrize("leaver", [0, 2, 4])
def test_nobodys_leaving_ends_a_flight(leaver):
    async def main() -> None:
        flights, look_up = Flights(3), LookUp()
        tasks = ask(flights, look_up, 5)
        await until(lambda: look_up.count)
        gone = tasks.pop(leaver)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        look_up.go.set()
        assert await asyncio.gather(*tasks) == ["found"] * 4
        assert look_up.count == 1

    run(main)


def test_a_flight_has_an_empty_context():
    async def main() -> None:
        flights, look_up = Flights(3), LookUp()
        ambient.set("the first asker's")
        look_up.go.set()
        await flights.ask(KEY, look_up)
        assert look_up.context == "nothing"

    run(main)


def test_an_asker_gives_up_at_its_deadline():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        flights, look_up = Flights(3), LookUp()
        (task,) = ask(flights, look_up)
        await until(lambda: look_up.count)
        loop.advance(2.9)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
        loop.advance(0.2)
        assert await task is None
        await until(lambda: len(flights) == 0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)


def test_late_joiners_share_one_next_flight():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        flights, look_up = Flights(3), LookUp()
        (early,) = ask(flights, look_up)
        await until(lambda: look_up.count)
        loop.advance(2)
        late = ask(flights, look_up, 10)
        await asyncio.sleep(0)
        loop.advance(1.1)
        assert await early is None
        await until(lambda: look_up.count == 2)
        look_up.go.set()
        assert await asyncio.gather(*late) == ["found"] * 10
        assert look_up.count == 2

    run(main)


@pytest.mark.parametrize("error", [TimeoutError(), asyncio.CancelledError()], ids=repr)
def test_a_look_up_that_ends_itself(error):
    """Its own time-outs and cancellations are nobody's answer, and end none of the askers."""

    async def main() -> None:
        flights, look_up = Flights(3), LookUp()
        look_up.outcome = error
        look_up.go.set()
        assert await flights.ask(KEY, look_up) is None
        assert look_up.count <= 2
        assert len(flights) == 0

    run(main)


def test_closing():
    async def main() -> None:
        flights, look_up = Flights(3), LookUp()
        tasks = ask(flights, look_up, 3) + ask(flights, look_up, key=OTHER)
        await until(lambda: look_up.count == 2)
        await flights.aclose()
        assert await asyncio.gather(*tasks) == [None] * 4
        assert len(flights) == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)
