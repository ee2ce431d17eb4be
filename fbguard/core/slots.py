"""How many Graph calls this process makes at once, and how many more may wait. For all of its loops.

Async callers look up on their own loops and sync callers on the background loop; Graph sees one process.
So the slots are counted under a lock, and a free one is handed to the next in line wherever it waits.
"""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from typing import Final

from fbguard.core import forks

_DEEPEST: Final = 32  # exceptions behind one exception


class _Waiter:
    """Who stands in line; ``counts`` is False for one who comes for those that have reserved a place."""

    __slots__ = ("counts", "loop", "since", "turn")

    def __init__(self, *, counts: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.turn = self.loop.create_future()
        self.since = time.monotonic()
        self.counts = counts


class Slots:
    """``size`` slots, and a line of at most ``queued`` askers.

    First come, first served, while the first has waited no longer than ``patience`` seconds. Beyond that the
    last goes first: the others would get a slot with no time left to use it, and so on for ever.
    """

    def __init__(self, size: int, queued: int, patience: float = math.inf) -> None:
        self._size = size
        self._queued = queued
        self._patience = patience
        self._reset()
        forks.each_in_child(self)

    def _reset(self) -> None:
        self._lock = (
            threading.RLock()
        )  # a collection may end a waiter of a dead loop, and so release, anywhere
        self._taken = self._reserved = self._counted = 0
        self._held: dict[asyncio.AbstractEventLoop, int] = {}  # how many of them on each loop
        self._lost = 0  # taken back from closed loops, whose coroutines may yet be collected, and release
        self._line: dict[_Waiter, None] = {}  # in order of arrival

    @property
    def taken(self) -> int:
        """How many are in use."""
        return self._taken

    @property
    def free(self) -> int:
        """How many are in use by nobody."""
        return max(self._size - self._taken, 0)

    @property
    def waiting(self) -> int:
        """How many askers wait: in line, or at a place that they have reserved."""
        return self._counted + self._reserved

    def reserve(self) -> bool:
        """Take a place for an asker who waits elsewhere; False when the line is full, and no slot free."""
        with self._lock:
            self._take_back_if_full()
            if self.waiting >= self._queued + self.free:
                return False
            self._reserved += 1
            return True

    def unreserve(self) -> None:
        """Give a place back."""
        with self._lock:
            self._reserved = max(self._reserved - 1, 0)

    async def acquire(self, *, for_reserved: bool = False) -> bool:
        """Wait for a slot; False at once when the line is full. Who gets True must :meth:`release`.

        Who comes ``for_reserved`` askers always finds a place in the line.
        """
        mine = _Waiter(counts=not for_reserved)
        with self._lock:
            self._take_back_if_full()
            if self._taken < self._size:
                self._taken += 1
                self._hold(mine.loop)
                return True
            if not for_reserved and self.waiting >= self._queued:
                return False
            self._line[mine] = None
            self._counted += mine.counts
        try:
            await mine.turn
        except BaseException:  # cancelled, or collected with a loop that nobody ended well
            self._leave_line(mine)
            raise
        return True

    def _leave_line(self, mine: _Waiter) -> None:
        with self._lock:
            if mine in self._line:
                self._remove(mine)
                return
        self.release()  # it was handed a slot on its way out

    def _remove(self, waiter: _Waiter) -> None:
        del self._line[waiter]
        self._counted -= waiter.counts

    def release(self) -> None:
        """Give a slot back: to the next in line, if anybody waits on a loop that runs."""
        with self._lock:
            if _is_collected():  # on whichever loop that happens
                self._take_back()
                if self._lost:
                    self._lost -= 1
                    return
            if self._let_go():
                self._hand_on()

    def _hold(self, loop: asyncio.AbstractEventLoop) -> None:
        self._held[loop] = self._held.get(loop, 0) + 1

    def _let_go(self) -> bool:
        """Note that one is held no more, on this loop if any is; False in a forked child for the parent's."""
        here = asyncio._get_running_loop()  # noqa: SLF001 - the other one raises where there is none
        loop = here if here in self._held else next(iter(self._held), None)
        if loop is None:
            return False
        count = self._held.get(loop, 0)
        if count > 1:
            self._held[loop] = count - 1
        else:
            self._held.pop(loop, None)
        return True

    def _take_back_if_full(self) -> None:
        if self._taken >= self._size:
            self._take_back()

    def _take_back(self) -> None:
        """Take back what closed loops hold: those calls are over, and not all of them ever say so."""
        for loop in self._held.copy():  # as it is now: a collection may release in between
            if loop.is_closed():
                for _ in range(self._held.pop(loop, 0)):
                    self._lost += 1
                    self._hand_on()

    def _hand_on(self) -> None:
        for waiter in self._in_turn():
            if not waiter.loop.is_running():
                if waiter.loop.is_closed():
                    self._remove(waiter)  # whoever waited there is gone
                continue
            try:
                waiter.loop.call_soon_threadsafe(_wake, waiter.turn)
            except RuntimeError:
                continue  # it was closed this moment
            self._remove(waiter)
            self._hold(waiter.loop)
            return
        self._taken -= 1

    def _in_turn(self) -> list[_Waiter]:
        line = list(self._line)
        if line and time.monotonic() - line[0].since > self._patience:
            line.reverse()
        return line

    def begin_anew(self) -> None:
        """Start anew in a forked child: slots and line are the parent's."""
        self._reset()


def _is_collected() -> bool:
    """Tell whether who releases is being thrown away; some raise other exceptions on that occasion."""
    error = sys.exception()
    for _ in range(_DEEPEST):
        if error is None or isinstance(error, GeneratorExit):
            break
        error = error.__context__
    return isinstance(error, GeneratorExit)


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
