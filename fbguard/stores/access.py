"""How long a store is waited for, and when it is not asked at all. One for all loops of a process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, Final, TypeVar

from fbguard import events
from fbguard.core import forks
from fbguard.core.errors import StoreUnavailable
from fbguard.core.loops import PerLoop, disown
from fbguard.events import Tell

T = TypeVar("T")

READ: Final = 0.05  # seconds that a look-up waits for the store
WRITE: Final = 1.0  # seconds that whoever ends a session does, and a question that nobody waits for any more
YOUTH: Final = 1.0  # seconds from a loop's first question on, until whose end look-ups wait
FAILURES: Final = 3  # in a row, after which the store is not asked ...
REST: Final = 1.0  # ... but once in so many seconds

_TURNS: Final = 10  # of the loop: where it is late itself, the answer may be there and not read yet


class Access:
    """A store's breaker; ``monotonic`` gives seconds. Safe for threads.

    A question that takes too long goes on without its asker: it may be the one that opens the connection.
    While a loop is young look-ups wait longer, all of them together for a second: a worker that has just
    started opens its connections then, and has heard of nothing that ended.
    """

    def __init__(self, monotonic: Callable[[], float], tell: Tell = events.log) -> None:
        self._monotonic = monotonic
        self._tell = tell
        self._lock = threading.Lock()
        self._failures = 0
        self._next = 0.0  # monotonic seconds
        self._questions = PerLoop(_Questions)
        self.failed = 0  # questions that brought nothing, in all
        forks.each_in_child(self)

    @property
    def is_open(self) -> bool:
        """Whether the store is asked as a rule."""
        return self._failures < FAILURES

    async def read(
        self, ask: Callable[[], Coroutine[Any, Any, T]], late: Callable[[T], object] | None = None
    ) -> T:
        """Return what the store says in time; raises StoreUnavailable, at once while it is away.

        What it says when nobody waits any more is given to ``late``.
        """
        if not self._may_ask():
            raise StoreUnavailable
        try:
            return await self._within(self._questions.here().patience, ask, late)
        except StoreUnavailable:
            self._note_failure()
            raise

    async def write(self, do: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Have the store do something that must be done; raises StoreUnavailable.

        A store that refuses to write may be read all the same: failures here are none of the breaker's.
        """
        try:
            return await self._within(WRITE, do)
        except StoreUnavailable:
            with self._lock:
                self.failed += 1
            raise

    async def _within(
        self,
        seconds: float,
        ask: Callable[[], Coroutine[Any, Any, T]],
        late: Callable[[T], object] | None = None,
    ) -> T:
        task = self._questions.here().start(ask())
        is_heard = False
        try:
            await asyncio.wait({task}, timeout=seconds)
            for _ in range(_TURNS):
                if task.done():
                    break
                await asyncio.sleep(0)
            is_heard = task.done()
        finally:
            if late is not None and not is_heard:  # also if the asker was cancelled
                task.add_done_callback(partial(_hand_over, late), context=Context())
        return self._said(task)

    def _said(self, task: asyncio.Task[T]) -> T:
        if task.cancelled():  # the guard was closed under it
            raise StoreUnavailable
        if task.done() and task.exception() is None:
            self.note_answer()
            return task.result()
        if task.done() and not isinstance(task.exception(), StoreUnavailable | TimeoutError):
            self._tell(events.StoreFailed(what=f"the store failed: {type(task.exception()).__name__}"))
        raise StoreUnavailable

    def _may_ask(self) -> bool:
        if self.is_open:
            return True
        with self._lock:
            now = self._monotonic()
            if now < self._next <= now + REST:
                return False
            self._next = now + REST
            return True

    def _note_failure(self) -> None:
        with self._lock:
            self.failed += 1
            self._failures += 1
            if self._failures == FAILURES:
                self._next = self._monotonic() + REST

    def note_answer(self) -> None:
        """Note that the store is there."""
        if self._failures:
            with self._lock:
                self._failures = 0

    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """Return the loops of this process that have asked."""
        return self._questions.loops()

    async def aclose_here(self) -> None:
        """End the questions of the running loop."""
        questions = self._questions.take_here()
        if questions is not None:
            await questions.aclose()

    def begin_anew(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()


class _Questions:
    """What a loop has asked and nobody may be waiting for any more."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._grown_up = asyncio.get_running_loop().time() + YOUTH

    @property
    def patience(self) -> float:
        """Return how many seconds a look-up waits."""
        return max(READ, self._grown_up - asyncio.get_running_loop().time())

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(_limited(work), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # read here, or asyncio would log it as never retrieved

    async def aclose(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def abandon(self) -> None:
        for task in self._tasks:
            disown(task)


def _hand_over(late: Callable[[T], object], task: asyncio.Task[T]) -> None:
    if not task.cancelled() and task.exception() is None:
        late(task.result())


async def _limited(work: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(WRITE):
        return await work
