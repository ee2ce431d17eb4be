"""Looking up ID tokens of Limited Login: nobody is asked about a token, but for the keys that sign them.

Keys are fetched when they are needed and kept for an hour. A ``kid`` that nobody knows has them fetched
anew, at most once a minute, whoever sends it: Facebook may have changed them, or the token is a forgery.
"""

from __future__ import annotations

import asyncio
import math
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from fbguard.core import forks
from fbguard.core.clock import Clock
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.events import SigningKeysFetched, SigningKeysUnavailable, Tell
from fbguard.facebook import oidc
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.graph import Outcome, Reply
from fbguard.facebook.oidc import CLOCK_MARGIN

if TYPE_CHECKING:
    from fbguard.facebook.connection import Connection

_FRESH: Final = 3_600.0  # seconds for which keys are used without asking again
_USABLE: Final = 86_400.0  # seconds for which they are while Facebook cannot be asked
_EVERY: Final = 60.0  # seconds between two fetches, where there are keys that serve
_AGAIN: Final = 2.0  # seconds after a fetch that failed, where there are none
_SPREAD: Final = 300.0  # seconds that a new list may take until it is everywhere
_AT_ONCE: Final = 8  # fetches: each event loop makes its own while there are no keys
_MOST_AGE: Final = 86_400  # seconds; a cache that says more is not believed
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class _Ring:
    """The keys of one fetch, and when it was, by both clocks; ``listed`` is when Facebook listed them.

    All in seconds; the last two are wall time.
    """

    keys: oidc.Keys = field(repr=False)
    at: float
    wall: float
    listed: float


class IdTokens:
    """Verifies ID tokens. Shared by all loops.

    ``url`` is of the JWK Set; ``patience`` is seconds for one look-up.
    """

    def __init__(self, url: str, clock: Clock, *, patience: float, tell: Tell) -> None:
        self._url = url
        self._clock = clock
        self._patience = patience
        self._tell = tell
        self._ring: _Ring | None = None
        self._tried = -math.inf  # monotonic seconds
        self._fetching: dict[Connection, asyncio.AbstractEventLoop] = {}
        self._places = threading.RLock()  # re-entered where a fetch is collected as garbage
        self._has_failed = False
        forks.each_in_child(self)

    def begin_anew(self) -> None:
        """Forget the fetches that are the parent's, in a forked child."""
        self._fetching = {}
        self._places = threading.RLock()

    async def look_up(self, here: Connection, token: Secret, fingerprint: str) -> Outcome:
        """Return the facts of an ID token; a Finding if the keys cannot be had. No deadline of its own."""
        unverified = oidc.parse(token)
        if isinstance(unverified, str):
            return oidc.dead(unverified, fingerprint)
        key_id = unverified.key_id
        if self._lacks(key_id) and (here.keys.is_under_way or self._may_fetch(here)):
            # Keys of before serve in time, though Facebook hangs.
            wait = self._patience / 2 if self._usable(key_id) is not None else None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await here.keys.shared(partial(self._fetch, here))
        ring = self._ring
        if ring is None or not self._is_within(ring, _USABLE):
            return UNAVAILABLE
        key = ring.keys.get(key_id)
        if key is None:
            return self._without_key(ring, unverified.issued, fingerprint)
        return oidc.read(token, unverified, key, fingerprint=fingerprint, now=self._clock.time())

    def _without_key(self, ring: _Ring, issued: int, fingerprint: str) -> Outcome:
        """Answer for a token under a key that Facebook does not list.

        Only of one that says to be as new as the list nobody knows: its key may not have been there yet.
        """
        if ring.listed - _SPREAD < issued <= self._clock.time() + CLOCK_MARGIN:
            wait = math.ceil(max(self._tried + _EVERY - self._clock.monotonic(), 1.0))
            return Finding("unavailable", retry_after=wait)
        return oidc.dead("invalid_token", fingerprint)

    # -- the keys -------------------------------------------------------------------------------------------

    def _is_within(self, ring: _Ring, seconds: float) -> bool:
        """Tell whether a fetch is that young by both clocks: either may stand still, or be set back."""
        by_monotonic, by_wall = self._clock.monotonic() - ring.at, self._clock.time() - ring.wall
        return 0 <= by_monotonic < seconds and -CLOCK_MARGIN <= by_wall < seconds

    def _usable(self, key_id: str) -> _Ring | None:
        ring = self._ring
        is_usable = ring is not None and key_id in ring.keys and self._is_within(ring, _USABLE)
        return ring if is_usable else None

    def _lacks(self, key_id: str) -> bool:
        """Tell whether Facebook should be asked for keys before a token is judged."""
        ring = self._usable(key_id)
        return ring is None or not self._is_within(ring, _FRESH)

    @property
    def _under_way(self) -> int:
        """How many fetches there are; those of closed loops are over, whether they have said so or not."""
        return sum(not loop.is_closed() for loop in self._fetching.copy().values())

    def _may_fetch(self, here: Connection) -> bool:
        if self._ring is None or not self._is_within(self._ring, _USABLE):
            under_way = self._under_way
            before = here.keys_tried if under_way else self._tried
            return under_way < _AT_ONCE and self._is_past(before, _AGAIN)
        # For all loops: who has a loop for each request has no limit on one of them.
        return self._is_past(self._tried, _EVERY)

    def _is_past(self, moment: float, seconds: float) -> bool:
        return not 0 <= self._clock.monotonic() - moment < seconds  # a snapshot may have set time back

    def _take_place(self, here: Connection) -> bool:
        """Look and take in one step: since the look before, loops of other threads may have come first."""
        with self._places:
            if not self._may_fetch(here):
                return False
            here.keys_tried = self._tried = self._clock.monotonic()
            for one, loop in self._fetching.copy().items():
                if loop.is_closed():
                    self._fetching.pop(one, None)
            self._fetching[here] = asyncio.get_running_loop()
            return True

    def _leave_place(self, here: Connection) -> None:
        with self._places:
            self._fetching.pop(here, None)

    async def _fetch(self, here: Connection) -> None:
        if not self._take_place(here):
            return
        reply: Reply | None = None
        try:
            # Longer than anybody waits: whoever comes next shall find keys.
            async with asyncio.timeout(self._patience * 2):
                reply = await here.client.fetch(self._url)
        except TimeoutError:
            pass  # as if nobody had answered
        finally:
            self._leave_place(here)
        keys = oidc.read_keys(reply.body) if reply is not None and reply.status == _OK else None
        if reply is None or keys is None:
            self._note_failure(None if reply is None else reply.status)
        else:
            self._take(keys, _age_of(reply))

    def _take(self, keys: oidc.Keys, age: float) -> None:
        before = None if self._ring is None else self._ring.keys.keys()
        now = self._clock.time()
        self._ring = _Ring(keys, self._clock.monotonic(), now, now - age)
        if keys.keys() != before or self._has_failed:
            self._tell(SigningKeysFetched(count=len(keys)))
        self._has_failed = False

    def _note_failure(self, status: int | None) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._tell(SigningKeysUnavailable(status=status))


def _age_of(reply: Reply) -> float:
    """Return for how many seconds a cache on the way has had a reply (RFC 9111 section 5.1)."""
    said = reply.header("Age") or ""
    return min(int(said), _MOST_AGE) if said.isascii() and said.isdigit() and len(said) < 10 else 0.0  # noqa: PLR2004
