"""How close together calls of Graph may follow one another. No loop, no I/O.

Two reasons to space them: ``max_calls_per_second``, and what Graph's usage headers say. From 80 % of its
limit on, calls go no faster than they went, less and less so up to 100 %; debug_token may send no
such header, so the calls are counted here.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Final

from fbguard.core import forks

SLOW_FROM: Final = 80  # percent of Graph's limit
USED_UP: Final = 100
SLOWEST: Final = 5.0  # calls a second that a usage header below 100 % always leaves
REMEMBERED: Final = 60.0  # seconds that a usage header counts for
_WINDOW: Final = 10.0  # seconds over which calls are counted


class Pace:
    """Safe for threads; ``monotonic`` gives seconds, ``most`` is calls a second, None for no limit."""

    def __init__(self, monotonic: Callable[[], float], most: float | None) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._most = math.inf if most is None else most
        self._full_speed = self._slowed = math.inf  # calls a second
        self._slowed_until = -math.inf  # monotonic seconds, as the next
        self._last_asker = self._next_call = -math.inf
        self._window_start = -math.inf
        self._calls = self._calls_before = 0
        forks.each_in_child(self)

    @property
    def is_slowed(self) -> bool:
        """Whether a usage header slows calls down at the moment."""
        return self._monotonic() < self._slowed_until

    @property
    def most_at_once(self) -> float:
        """How many calls may go out together and be no burst: a tenth of a second's, at least one."""
        return max(self._rate(self._monotonic()) / 10, 1)

    def _rate(self, now: float) -> float:
        return min(self._most, self._slowed) if now < self._slowed_until else self._most

    def book(self, calls: int, patience: float) -> float:
        """Return the seconds to wait before so many calls; beyond ``patience`` nothing is booked."""
        with self._lock:
            now = self._monotonic()
            rate = self._rate(now)
            if rate == math.inf or now < self._last_asker:  # ... or the machine goes on from a snapshot
                self._next_call = now
            self._last_asker = now
            wait = max(self._next_call - now, 0.0)
            if wait <= patience:
                self._next_call = now + wait + calls / rate
                self._count(now, calls)
            return wait

    def _count(self, now: float, calls: int) -> None:
        passed = now - self._window_start
        if not 0 <= passed < _WINDOW:
            self._calls_before = self._calls if 0 <= passed < 2 * _WINDOW else 0
            self._calls, self._window_start = 0, now
        self._calls += calls

    def _counted(self, now: float) -> float:
        """Return the calls a second of the last ten to twenty seconds."""
        return (self._calls + self._calls_before) / (_WINDOW + min(max(now - self._window_start, 0), _WINDOW))

    def used(self, percent: float) -> None:
        """Note what a usage header says, in percent below 100."""
        with self._lock:
            now = self._monotonic()
            if percent < SLOW_FROM:
                self._slowed_until = -math.inf
                return
            if now >= self._slowed_until:
                self._full_speed = self._counted(now)
            left = (USED_UP - percent) / (USED_UP - SLOW_FROM)
            self._slowed = max(self._full_speed * left, SLOWEST)
            self._slowed_until = now + REMEMBERED

    def begin_anew(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()
