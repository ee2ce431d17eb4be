"""How many Graph calls this process makes at once, and how many more may wait. For all of its loops.

Async callers look up on their own loops and sync callers on the background loop; Graph sees one process.
So the slots are counted under a lock, and a free one is handed to the next in line wherever it waits.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from weakref import WeakSet

from fbguard.core import forks


class _Waiter:
    """Who stands in line; ``counts`` is False for one who comes for those that have reserved a place."""

    __slots__ = ("counts", "loop", "since", "turn")

    def __init__(self, *, counts: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.turn = self.loop.create_future()
        self.since = time.monotonic()
        self.counts = counts


_all: WeakSet[Slots] = WeakSet()


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
        _all.add(self)

    def _reset(self) -> None:
        self._lock = (
            threading.RLock()
        )  # a collection may end a waiter of a dead loop, and so release, anywhere
        self._taken = self._reserved = self._counted = 0
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
            if self._taken < self._size:
                self._taken += 1
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
                return
            self._taken = max(self._taken - 1, 0)  # in a forked child the parent's tasks end, too

    def _in_turn(self) -> list[_Waiter]:
        line = list(self._line)
        if line and time.monotonic() - line[0].since > self._patience:
            line.reverse()
        return line

    def abandon(self) -> None:
        """Start anew in a forked child: slots and line are the parent's."""
        self._reset()


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


def _abandon_all() -> None:
    for one in _all:
        one.abandon()


forks.in_child(_abandon_all)
