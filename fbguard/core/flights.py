"""Single-flight: many askers of one token, one look-up. One table per event loop.

A flight is a task of its own, with an empty context and the whole deadline from its start. Every
asker, the first too, waits for it with a deadline of its own, and for nothing but its end; so nobody's
cancellation ends anybody else's look-up, and nobody inherits the rest of somebody's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, Generic, TypeVar

from fbguard.core.loops import disown

T = TypeVar("T")

_ROUNDS = 2  # the flight that is under way, and once the next one
_HAIR: Final = 0.01  # seconds too few to set a timer for, or to begin a flight


class _Flight(Generic[T]):
    """A look-up under way, who waits for its end, and when it is over at the latest, by the loop's clock.

    One timer serves the flight and all who boarded it at its start: asyncio's time-outs and shields around
    each of them cost more than reading what Graph says.
    """

    __slots__ = ("_timer", "_waiting", "due", "is_late", "task")

    task: asyncio.Task[T]

    def __init__(self, due: float) -> None:
        self.due = due
        self.is_late = False
        self._waiting: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, deadline: float, end: Callable[[], None]) -> None:
        """Begin to count the time: with the first step, so that it is the look-up's and not the loop's."""
        self._timer = asyncio.get_running_loop().call_later(deadline, end, context=Context())

    async def wait(self, due: float) -> None:
        """Return when the flight is over, or at ``due``, give or take a hair and a turn of the loop."""
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[None] = loop.create_future()
        self._waiting.add(mine)
        timer = loop.call_at(due, _wake, mine) if due < self.due - _HAIR else None
        try:
            await mine
        finally:
            self._waiting.discard(mine)
            if timer is not None:
                timer.cancel()

    def wake(self) -> None:
        """Wake all who wait."""
        if self._timer is not None:
            self._timer.cancel()
        for one in self._waiting:
            _wake(one)


class Flights(Generic[T]):
    """The look-ups under way on one loop, by key; used on that loop only."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._flights: dict[bytes, _Flight[T]] = {}
        self._late: set[asyncio.Task[T]] = set()  # those whose time was up, until they are down

    def __len__(self) -> int:
        return len(self._flights)

    def due(self) -> float:
        """Return when an asker of now has waited long enough, by the loop's clock."""
        return asyncio.get_running_loop().time() + self._deadline

    async def ask(
        self, key: bytes, look_up: Callable[[], Coroutine[Any, Any, T]], due: float | None = None
    ) -> T | None:
        """Join the flight for ``key``, or start it by ``look_up()``; None when time ran out (at ``due``).

        An asker with time left when a flight of others runs out joins or leads the next one, once.
        What the look-up raises reaches every asker of that flight; the next call tries again.
        """
        loop = asyncio.get_running_loop()
        due = self.due() if due is None else due
        for _ in range(_ROUNDS):
            if loop.time() >= due - min(_HAIR, self._deadline / 10):
                return None
            flight = self._flights.get(key) or self._start(key, look_up)
            await flight.wait(due)
            if flight.task.done() and not flight.task.cancelled():
                with suppress(TimeoutError):
                    return flight.task.result()
            elif not flight.is_late:
                return None  # my time is up and the flight goes on, or the guard was closed under it
        return None

    def _start(self, key: bytes, look_up: Callable[[], Coroutine[Any, Any, T]]) -> _Flight[T]:
        flight: _Flight[T] = _Flight(self.due())
        flight.task = asyncio.get_running_loop().create_task(
            self._fly(key, flight, look_up), context=Context()
        )
        flight.task.add_done_callback(lambda _: self._landed(key, flight))
        self._flights[key] = flight
        return flight

    async def _fly(self, key: bytes, flight: _Flight[T], look_up: Callable[[], Coroutine[Any, Any, T]]) -> T:
        flight.start(self._deadline, lambda: self._end(key, flight))
        try:
            return await look_up()
        finally:  # with the last step: whoever waits runs after it, and nobody boards what is over
            self._leave(key, flight)

    def _end(self, key: bytes, flight: _Flight[T]) -> None:
        """End a flight whose time is up; nobody waits for it to clear away its things."""
        flight.is_late = True
        self._late.add(flight.task)
        flight.task.cancel()
        self._leave(key, flight)

    def _leave(self, key: bytes, flight: _Flight[T]) -> None:
        """Take a flight out of the table and wake who waits for it; again does no harm."""
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.wake()

    def _landed(self, key: bytes, flight: _Flight[T]) -> None:
        self._leave(key, flight)  # for one that was cancelled before its first step
        self._late.discard(flight.task)
        if not flight.task.cancelled():
            flight.task.exception()  # read here, or asyncio would log it as never retrieved

    def abandon(self) -> None:
        """Forget the flights without ending them: they are the parent's, this is its child."""
        for task in self._in_the_air():
            disown(task)
        self._flights.clear()
        self._late.clear()

    async def aclose(self) -> None:
        """Cancel what is in the air and wait until it is down."""
        tasks = self._in_the_air()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _in_the_air(self) -> list[asyncio.Task[T]]:
        return [*self._late, *(flight.task for flight in self._flights.values())]


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
