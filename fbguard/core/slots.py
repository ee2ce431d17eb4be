"""How many Graph calls this process makes at once, and how many more may wait. For all of its loops.

Async callers look up on their own loops and sync callers on the background loop; Graph sees one process.
So the slots are counted under a lock, and a free one is handed to the next in line wherever it waits.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from weakref import WeakSet

from fbguard.core import forks

# The last tells whether it counts: who waits for reserved places stands beside them.
_Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]", bool]

_all: WeakSet[Slots] = WeakSet()


class Slots:
    """``size`` slots, and a queue of at most ``queued`` askers; first come, first served."""

    def __init__(self, size: int, queued: int) -> None:
        self._size = size
        self._queued = queued
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self._lock = (
            threading.RLock()
        )  # a collection may end a waiter of a dead loop, and so release, anywhere
        self._taken = self._reserved = self._counted = 0
        self._line: deque[_Waiter] = deque()

    @property
    def taken(self) -> int:
        """How many are in use."""
        return self._taken

    @property
    def are_taken(self) -> bool:
        """Whether all of them are in use."""
        return self._taken >= self._size

    @property
    def waiting(self) -> int:
        """How many askers wait: in line, or at a place that they have reserved."""
        return self._counted + self._reserved

    def reserve(self) -> bool:
        """Take a place for an asker who waits elsewhere; False when the line is full."""
        with self._lock:
            if self.waiting >= self._queued:
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
        loop = asyncio.get_running_loop()
        mine = (loop, loop.create_future(), not for_reserved)
        with self._lock:
            if self._taken < self._size:
                self._taken += 1
                return True
            if not for_reserved and self.waiting >= self._queued:
                return False
            self._line.append(mine)
            self._counted += mine[2]
        try:
            await mine[1]
        except BaseException:  # cancelled, or collected with a loop that nobody ended well
            self._leave_line(mine)
            raise
        return True

    def _leave_line(self, mine: _Waiter) -> None:
        with self._lock:
            if mine in self._line:
                self._line.remove(mine)
                self._counted -= mine[2]
                return
        self.release()  # it was handed a slot on its way out

    def release(self) -> None:
        """Give a slot back: to the next in line, if anybody waits on a loop that still runs."""
        with self._lock:
            while self._line:
                loop, turn, counts = self._line.popleft()
                self._counted -= counts
                try:
                    loop.call_soon_threadsafe(_wake, turn)
                except RuntimeError:
                    continue  # its loop is closed, and whoever waited there is gone
                return
            self._taken = max(self._taken - 1, 0)  # in a forked child the parent's tasks end, too

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
