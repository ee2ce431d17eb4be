"""States that have done their work. Safe for threads."""

from __future__ import annotations

import threading
from collections.abc import MutableMapping
from typing import Final

from cachetools import LRUCache

from fbguard.core import forks
from fbguard.core.secret import Secret

_MOST: Final = (
    100_000  # that are remembered; each is good for ten minutes, and for the browser that has its cookie
)


class UsedStates:
    """Which states of logins were used, in this process."""

    def __init__(self) -> None:
        self._states: MutableMapping[bytes, bool] = LRUCache(_MOST)
        self._lock = threading.Lock()
        forks.each_in_child(self)

    def take(self, state: Secret) -> bool:
        """Use a state; False if it was used before."""
        key = state.digest()
        with self._lock:
            if key in self._states:
                return False
            self._states[key] = True
            return True

    def give_back(self, state: Secret) -> None:
        """Have it that the state was not used."""
        with self._lock:
            self._states.pop(state.digest(), None)

    def begin_anew(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()
