"""The two clocks a guard reads."""

from __future__ import annotations

import time as machine
from typing import Protocol


class Clock(Protocol):
    """What ``Guard(clock=...)`` takes: wall time and monotonic time, both in seconds."""

    def time(self) -> float:
        """Return seconds since the epoch, like :func:`time.time`."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never run backwards, like :func:`time.monotonic`."""
        ...


class SystemClock:
    """The machine's own clocks: the functions themselves, for a method around them costs as much again."""

    time = staticmethod(machine.time)
    monotonic = staticmethod(machine.monotonic)
