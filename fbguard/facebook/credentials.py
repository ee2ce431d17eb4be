"""Our own credential at Graph: one for each app secret, and whether Graph takes it.

What Graph says against our credential comes as the answer to somebody's token, and may be about that
token after all. So it is believed only if a call that no caller has a part in, the probe, is refused too.
Even then one look-up a second is tried: the first that Graph answers proves that all is well again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from fbguard import events
from fbguard.core import forks
from fbguard.core.secret import Secret
from fbguard.events import Tell

PROBE_EVERY: Final = 60.0  # seconds
TRY_EVERY: Final = 1.0  # seconds, while all are refused


class Credentials:
    """``app_id|app_secret`` for each secret, the first first; ``monotonic`` gives seconds."""

    def __init__(
        self,
        app_id: str,
        secrets: Sequence[Secret],
        monotonic: Callable[[], float],
        tell: Tell = events.log,
    ) -> None:
        self._all = [Secret(f"{app_id}|{secret.reveal()}") for secret in secrets]
        self._monotonic = monotonic
        self._tell = tell
        self._lock = threading.Lock()
        self._current = 0
        self._next_probe = self._next_try = float("-inf")
        self.are_refused = False
        forks.each_in_child(self)

    @property
    def current(self) -> Secret:
        """The credential to call Graph with."""
        return self._all[self._current]

    def in_order(self) -> list[Secret]:
        """Return all of them, the current one first."""
        return [self._all[self._current], *self._all[: self._current], *self._all[self._current + 1 :]]

    def claim_probe(self) -> bool:
        """Tell whether the caller shall probe now; once a minute somebody does."""
        with self._lock:
            now = self._monotonic()
            if 0 < self._next_probe - now <= PROBE_EVERY:  # else a snapshot has set time back
                return False
            self._next_probe = now + PROBE_EVERY
            return True

    def release_probe(self) -> None:
        """Give a claimed probe back that was not made."""
        with self._lock:
            self._next_probe = float("-inf")

    def claim_try(self) -> bool:
        """Tell whether the caller shall try a refused credential all the same; one a second does."""
        with self._lock:
            now = self._monotonic()
            if 0 < self._next_try - now <= TRY_EVERY:
                return False
            self._next_try = now + TRY_EVERY
            return True

    def seconds_to_probe(self) -> float:
        """Return the seconds until the next probe may be made."""
        return min(max(self._next_probe - self._monotonic(), 0.0), PROBE_EVERY)

    def accept(self, credential: Secret) -> None:
        """Note that Graph takes a credential, and keep it."""
        number = self._all.index(credential)
        is_another, self._current = number != self._current, number
        if is_another:
            self._tell(events.SecretReplaced())
        self.are_taken()

    def refuse(self) -> None:
        """Note that Graph takes none of them."""
        self.are_refused = True
        self._tell(events.CredentialRefused())

    def are_taken(self) -> None:
        """Note that Graph has answered a call that carried the current one."""
        if self.are_refused:
            self.are_refused = False
            self._tell(events.CredentialAccepted())

    def begin_anew(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()
