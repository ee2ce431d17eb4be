"""What keeps Graph from being hammered: slots and pace, before each call and after it."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from weakref import WeakSet

from fbguard.core.clock import Clock
from fbguard.core.reasons import Finding
from fbguard.core.slots import Slots


class Governor:
    """Lets a call of Graph pass, now or after a wait, or says why it must not be made.

    ``max_in_flight`` calls at once and ``max_queued`` in line, for all loops of the process;
    ``max_calls_per_second`` spaces them evenly. ``patience`` is the seconds after which no caller waits
    any more. All waits count against the caller's deadline.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_in_flight: int,
        max_queued: int,
        max_calls_per_second: float | None,
        patience: float,
    ) -> None:
        self._clock = clock
        self._patience = patience
        self._interval = 0.0 if max_calls_per_second is None else 1 / max_calls_per_second
        self._slots = Slots(max_in_flight, max_queued)
        self._lock = threading.Lock()
        self._last_asker = self._next_call = -math.inf  # monotonic seconds, as the next
        _all.add(self)

    @property
    def in_flight(self) -> int:
        """How many calls are under way."""
        return self._slots.taken

    @asynccontextmanager
    async def call(self) -> AsyncGenerator[Finding | None]:
        """Hold a slot in the block; gives None, or the don't-know that stands in for the call."""
        if not await self._slots.acquire():
            yield Finding("unavailable", retry_after=1)
            return
        try:
            yield await self._keep_pace()
        finally:
            self._slots.release()

    async def _keep_pace(self) -> Finding | None:
        """Wait for the next place in the pace, unless that comes too late for anybody."""
        with self._lock:
            now = self._clock.monotonic()
            if not self._interval or now < self._last_asker:  # ... or the machine goes on from a snapshot
                self._next_call = now
            self._last_asker = now
            wait = max(self._next_call - now, 0.0)
            if wait > self._patience:
                return Finding("unavailable", retry_after=math.ceil(wait))
            self._next_call = now + wait + self._interval
        if wait:
            await asyncio.sleep(wait)
        return None

    def renew_lock(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()


_all: WeakSet[Governor] = WeakSet()


def _renew_locks() -> None:
    for one in _all:
        one.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
