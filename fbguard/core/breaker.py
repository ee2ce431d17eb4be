"""Whether Graph should be asked at all: after don't-knows, and while it throttles. No loop, no I/O.

Two memories, fed with what comes back. The *breaker* opens after don't-knows in a row, and then lets
one call through a second, as a probe, until one of them gets an answer, whatever it says: a flood of bad
tokens, which Graph answers, cannot open it. The *back-off* stands still for as long as Graph asks for,
else for a time that doubles while it goes on throttling; then, too, one call goes first.

The breakers on PyPI (purgatory, pybreaker, aiobreaker) count exceptions around a call, on one loop or one
lock, by the system's clock. Here a don't-know is an answer, several loops and threads share one state,
and the clock is the guard's; so this is our own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from fbguard.core import forks

FAILURES: Final = 10  # don't-knows in a row that open the breaker ...
SPAN: Final = 1.0  # ... if they span so many seconds: one lost connection takes many calls along at once
BURST: Final = 100  # ... and however quickly they came
PROBE_EVERY: Final = 1.0  # seconds between the probes of an open one
SHORTEST: Final = 2.0  # seconds of the first back-off
LONGEST: Final = 60.0  # seconds of one that Graph does not name; it counts over a rolling hour
LONGEST_NAMED: Final = 3600.0  # seconds; whatever a header says, that hour is over by then


class Hold(NamedTuple):
    """Why Graph is not to be asked, and for how many seconds."""

    reason: Literal["throttled", "unavailable"]
    seconds: float


class Breaker:
    """``monotonic`` gives seconds. Safe for threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failures = 0
        self._failing_since = self._next_probe = 0.0  # monotonic seconds, as all here
        self._is_open = self._is_throttled = self._is_probed = False
        self._throttled_at = self._throttled_until = 0.0
        self._wait = SHORTEST
        self.era = 0  # grows with each time that Graph is left alone, and with each probe after it
        self._throttled_era = 0  # in which Graph was last heard to throttle
        forks.each_in_child(self)

    @property
    def is_calm(self) -> bool:
        """Whether calls are made as they come."""
        return not (self._is_open or self._is_throttled)

    def hold(self) -> Hold | None:
        """Return why no call may be made now, None if one may."""
        if self.is_calm:
            return None
        with self._lock:
            return self._hold(self._monotonic())

    def claim(self) -> Hold | None:
        """Do what :meth:`hold` does, for a caller that goes on to call if it may: a probe is his alone."""
        if self.is_calm:
            return None
        with self._lock:
            now = self._monotonic()
            held = self._hold(now)
            if held is None:
                self._begin_probe(now)
            return held

    def _hold(self, now: float) -> Hold | None:
        # A snapshot of the machine may set the clock back: then nothing is held.
        if self._is_throttled and self._throttled_at <= now < self._throttled_until:
            return Hold("throttled", self._throttled_until - now)
        if self._is_open and 0 < self._next_probe - now <= PROBE_EVERY:
            return Hold("unavailable", self._next_probe - now)
        return None

    def _begin_probe(self, now: float) -> None:
        if self._is_throttled:
            self._throttled_at, self._throttled_until = now, now + SHORTEST
            self._is_probed = True
            self.era += 1
        self._next_probe = now + PROBE_EVERY

    def answered(self, era: int) -> None:
        """Note that Graph said something, good or bad, to a call that was made in ``era``.

        What was under way when Graph began to throttle tells nothing about now. Any probe since does, also
        one that was slow, and is not the last any more.
        """
        if self.is_calm and not self._failures:
            return
        with self._lock:
            self._failures = 0
            self._is_open = False
            if era == self.era or era > self._throttled_era:
                self._is_throttled = False
                self._wait = SHORTEST

    def failed(self) -> None:
        """Note a don't-know."""
        with self._lock:
            now = self._monotonic()
            if not self._failures:
                self._failing_since = now
            self._failures += 1
            lasts = self._failures >= FAILURES and now - self._failing_since >= SPAN
            if not self._is_open and (lasts or self._failures >= BURST):
                self._is_open = True
                self._next_probe = now + PROBE_EVERY

    def throttled(self, seconds: float | None) -> float:
        """Note that Graph throttles, for so many seconds if it says; return how long to stand still."""
        with self._lock:
            now = self._monotonic()
            self._failures = 0  # it is there
            self._is_open = False
            is_held = self._is_throttled and self._throttled_at <= now
            left = max(self._throttled_until - now, 0.0) if is_held else 0.0
            if seconds is None:
                if left and not self._is_probed:
                    return left  # of calls that were under way together the first counts
                seconds, self._wait = self._wait, min(self._wait * 2, LONGEST)
            wait = max(min(seconds, LONGEST_NAMED), left)
            self._is_throttled, self._is_probed = True, False
            self._throttled_at, self._throttled_until = now, now + wait
            self.era += 1
            self._throttled_era = self.era
            return wait

    def begin_anew(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()
