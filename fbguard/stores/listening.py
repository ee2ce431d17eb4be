"""Hearing what the other workers do, and knowing when something may have been missed.

A process hears the news of its store on the background loop. Each time it begins to listen anew is an
*era*: what was asked at the store in an era, and since then was not heard to have ended, has not ended. A
fact of another era, or of a time in which nobody listened, is asked for once more before it is believed;
nothing is thrown away. A stream that replays what was missed would not do alone: a fact that came while the
store could not be asked is not in doubt for its news, but for a tombstone that may be much older.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import aclosing, suppress
from contextvars import Context
from typing import Any, Final

from fbguard import events
from fbguard.core import background, forks
from fbguard.core.errors import StoreUnavailable
from fbguard.core.loops import disown
from fbguard.events import Tell
from fbguard.stores.protocol import Space

SOONEST: Final = 0.1  # seconds until a lost link is tried again, twice as long each time ...
LATEST: Final = 1.0  # ... up to so many
INSISTING: Final = 1.0  # seconds until what was stopped, and goes on, is stopped once more
_TOO_MANY: Final = "too many news in the store: not heard for a moment"
MOST: Final = 5_000  # news in a second; whoever says more is not believed to be one of us

_inherited: Final[list[asyncio.Task[Any]]] = []


class Listening:
    """``hear`` is told each of a space's news; ``catch_up`` is awaited each time that an era begins.

    Once more after a second if it raises StoreUnavailable, or was asked to. Safe for threads.
    """

    def __init__(
        self,
        space: Space,
        hear: Callable[[bytes], None],
        catch_up: Callable[[], Awaitable[None]],
        tell: Tell = events.log,
    ) -> None:
        self._space = space
        self._hear = hear
        self._catch_up = catch_up
        self._tell = tell
        self._lock = threading.RLock()  # while it is held, a guard that is collected may stop this
        self._work: tuple[int, Future[None]] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._number = 0
        self._is_over = False
        self._wait = SOONEST
        self._due: asyncio.Event | None = None  # of the running era
        self.era: int | None = None  # None while nobody listens
        forks.each_in_child(self)

    def start(self) -> None:
        """See that this process listens, from now on until :meth:`stop`."""
        if self._is_at_work():
            return
        with self._lock:
            if not self._is_over and not self._is_at_work():
                self.era = None
                with suppress(background.NoLoop):  # whoever comes next tries again
                    self._work = (os.getpid(), background.submit(self._follow()))

    def _is_at_work(self) -> bool:
        return self._work is not None and self._work[0] == os.getpid() and not self._work[1].done()

    def renew(self) -> None:
        """Begin a new era although the link is whole: what was asked before may not be so any more."""
        if self.era is not None:
            self._number += 1
            self.era = self._number
            self.catch_up_again()

    def stop(self) -> None:
        """Listen no more: a look-up that is still under way does not begin it anew."""
        with self._lock:
            self._is_over = True
            work, self._work = self._work, None
        self.era = None
        if work is not None and work[0] == os.getpid():
            work[1].cancel()
            self._insist()

    def _insist(self) -> None:
        """Look later whether it has ended: a library on the way may swallow what cancels it.

        Not at once: it may be letting go of its link.
        """
        task = self._task
        if task is not None and not task.done():
            with suppress(RuntimeError):  # the loop was closed meanwhile
                task.get_loop().call_soon_threadsafe(_cancel_later, task, context=Context())

    def catch_up_again(self) -> None:
        """Have ``catch_up`` awaited once more, in a second; in an era that has not begun it is anyway."""
        due, loop = self._due, background.running()
        if due is not None and loop is not None:
            loop.call_soon_threadsafe(due.set, context=Context())

    async def _follow(self) -> None:
        self._task = asyncio.current_task()
        told = -1
        while not self._is_over:  # a library on the way may have swallowed what has cancelled this
            failed = await _failure_of(self._listen)
            await self._pause(failed, is_news=told != self._number)  # the first time, or after an era
            told = self._number

    async def _pause(self, failed: str | None, *, is_news: bool) -> None:
        """Tell that nobody listens, and wait until it is time to try again."""
        if self._is_over:
            return
        self._say_failed("the news of the store broke off", failed)
        if is_news:
            self._say(events.StoreLost())
        await asyncio.sleep(self._wait)
        self._wait = min(self._wait * 2, LATEST)

    async def _listen(self) -> None:
        """Listen until the link is lost."""
        catching_up: asyncio.Task[None] | None = None
        allowance = _Allowance()
        async with aclosing(self._space.news()) as news:
            try:
                async for said in news:
                    if self._is_over:
                        return
                    if catching_up is None:  # the first: from here on
                        catching_up = self._begin()
                    elif not allowance.take():
                        self._say(events.StoreFailed(what=_TOO_MANY))
                        return
                    else:
                        self._hear(said)
                    await asyncio.sleep(0)  # many may be there at once: others have their turn in between
            finally:
                # However it ends, nobody may go on believing that he hears. And first: a store may take for
                # ever to let go of its link, and whoever is told takes his time.
                self.era = self._due = None
                if catching_up is not None:
                    catching_up.cancel()
                    await asyncio.gather(catching_up, return_exceptions=True)

    def _begin(self) -> asyncio.Task[None]:
        self._number += 1
        self.era = self._number
        self._say(events.StoreHeard())
        self._due = asyncio.Event()
        return asyncio.get_running_loop().create_task(self._catch(self._due))

    async def _catch(self, due: asyncio.Event) -> None:
        async def catch_up() -> None:
            due.clear()
            await self._catch_up()
            self._wait = SOONEST
            await due.wait()

        while not self._is_over:
            self._say_failed("catching up with the store broke off", await _failure_of(catch_up))
            await asyncio.sleep(LATEST)

    def _say_failed(self, what: str, failed: str | None) -> None:
        if failed is not None:
            self._say(events.StoreFailed(what=f"{what}: {failed}"))

    def _say(self, event: events.Event) -> None:
        """Tell of something. A user's logging filter that raises must not end the listening."""
        with suppress(BaseException):
            self._tell(event)

    async def aclose_here(self) -> None:
        """Wait for the end of what :meth:`stop` has stopped, if it was on the running loop."""
        task = self._task
        if self._work is None and task is not None and task.get_loop() is asyncio.get_running_loop():
            await asyncio.gather(task, return_exceptions=True)

    def begin_anew(self) -> None:
        """Start anew in a forked child: the task is the parent's, and what it holds must not be collected."""
        if self._task is not None:
            disown(self._task)
            _inherited.append(self._task)
        self._lock = threading.RLock()
        self._work = self._task = self._due = self.era = None


def _cancel_later(task: asyncio.Task[Any]) -> None:
    """Cancel a task every now and then until it has ended; the first time is still to come."""

    def cancel() -> None:
        if task.cancel():
            _cancel_later(task)

    task.get_loop().call_later(INSISTING, cancel)


async def _failure_of(work: Callable[[], Awaitable[None]]) -> str | None:
    """Do something that is done again; return the class of what it raised, but not when the store is away.

    No more than that is kept: its text may hold a password. A library may raise CancelledError where nobody
    was cancelled, and what is no Exception would end the loop that all guards share.
    """
    try:
        await work()
    except StoreUnavailable:
        return None
    except GeneratorExit:  # the loop is gone
        raise
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and _is_cancelled():
            raise
        return type(error).__name__
    return None


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Allowance:
    """``MOST`` in a second of the running loop's."""

    def __init__(self) -> None:
        self._second, self._count = 0.0, 0

    def take(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._second >= 1.0:
            self._second, self._count = now, 0
        self._count += 1
        return self._count <= MOST
