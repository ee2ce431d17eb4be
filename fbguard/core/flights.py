"""Single-flight: many askers of one token, one look-up. One table per event loop.

A flight is a task of its own, with an empty context and the whole deadline from its start. Every
asker, the first too, awaits it shielded and with a deadline of its own; so nobody's cancellation
ends anybody else's look-up, and nobody inherits the rest of somebody's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Generic, TypeVar

from fbguard.core.loops import disown

T = TypeVar("T")

_ROUNDS = 2  # the flight that is under way, and once the next one


class Flights(Generic[T]):
    """The look-ups under way on one loop, by key; used on that loop only."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._tasks: dict[bytes, asyncio.Task[T]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

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
            if loop.time() >= due:
                return None
            task = self._tasks.get(key)
            if task is None or task.done():  # one that is over knows nothing of what happened since
                task = self._start(key, look_up)
            mine = asyncio.timeout_at(due)
            try:
                async with mine:
                    return await asyncio.shield(task)
            except TimeoutError:
                if mine.expired():
                    return None
            except asyncio.CancelledError:
                if _is_cancelled_itself():
                    raise
                return None  # the guard was closed under the flight
        return None

    def _start(self, key: bytes, look_up: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(self._fly(look_up), context=Context())
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._landed(key, done))
        return task

    async def _fly(self, look_up: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with asyncio.timeout(self._deadline):
            return await look_up()

    def _landed(self, key: bytes, task: asyncio.Task[T]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled():
            task.exception()  # read here, or asyncio would log it as never retrieved

    def abandon(self) -> None:
        """Forget the flights without ending them: they are the parent's, this is its child."""
        for task in self._tasks.values():
            disown(task)
        self._tasks.clear()

    async def aclose(self) -> None:
        """Cancel what is in the air and wait until it is down."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _is_cancelled_itself() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
