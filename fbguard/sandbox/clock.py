"""The sandbox's clock: the machine's clocks plus an offset that tests move."""

from __future__ import annotations

import threading
import time

from fbguard.sandbox.arguments import number

# A step is bounded so that no date that is computed from the clock leaves the calendar.
_MAX_STEP = 100 * 365 * 86_400.0


class SandboxClock:
    """Wall and monotonic time, both moved by :meth:`advance`; safe to use from many threads.

    A guard that is given this clock and the sandbox that owns it always agree on the time.
    """

    __slots__ = ("_lock", "_offset")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset = 0.0

    def time(self) -> float:
        """Return seconds since the epoch, plus everything advanced so far."""
        return time.time() + self._offset

    def monotonic(self) -> float:
        """Return monotonic seconds, plus everything advanced so far."""
        return time.monotonic() + self._offset

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by ``seconds`` (finite, >= 0) without waiting.

        A monotonic clock cannot run backwards, so a negative step is a ValueError.
        """
        step = number("seconds", seconds, 0.0, _MAX_STEP)
        with self._lock:
            self._offset += step

    def __repr__(self) -> str:
        return f"SandboxClock(offset={self._offset!r})"
