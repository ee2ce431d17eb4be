"""Run until somebody says stop: Ctrl-C, or SIGTERM from a supervisor."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_POLL: Final = 0.5  # seconds; a wait without end cannot be interrupted on Windows


class Stop:
    """What a stop signal has set; see :func:`stop_signals`."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        """Be a signal handler."""
        self._asked.set()

    def wait(self) -> None:
        """Block until a stop was asked for; at once if it was already."""
        while not self._asked.wait(_POLL):
            pass


@contextmanager
def stop_signals() -> Generator[Stop]:
    """Take Ctrl-C and SIGTERM for a wish to stop, not for an error, while the block runs."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
