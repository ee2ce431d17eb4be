"""How many Graph calls this process makes at once, and how many more may wait. For all of its loops.

Async callers look up on their own loops and sync callers on the background loop; Graph sees one process.
So the slots are counted under a lock, and a free one is handed to the next in line wherever it waits.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from weakref import WeakSet

_Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]

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
        self._taken = 0
        self._line: deque[_Waiter] = deque()

    @property
    def taken(self) -> int:
        """How many are in use."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many askers stand in line."""
        return len(self._line)

    async def acquire(self) -> bool:
        """Wait for a slot; False at once when the line is full. Who gets True must :meth:`release`."""
        loop = asyncio.get_running_loop()
        mine = (loop, loop.create_future())
        with self._lock:
            if self._taken < self._size:
                self._taken += 1
                return True
            if len(self._line) >= self._queued:
                return False
            self._line.append(mine)
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
                return
        self.release()  # it was handed a slot on its way out

    def release(self) -> None:
        """Give a slot back: to the next in line, if anybody waits on a loop that still runs."""
        with self._lock:
            while self._line:
                loop, turn = self._line.popleft()
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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
