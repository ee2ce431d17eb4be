"""Looking up ID tokens of Limited Login: nobody is asked about a token, but for the keys that sign them.

Keys are fetched when they are needed and kept for an hour. A ``kid`` that nobody knows has them fetched
anew, at most once a minute, whoever sends it: Facebook may have changed them, or the token is a forgery.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from fbguard.core.clock import Clock
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.events import SigningKeysFetched, SigningKeysUnavailable, Tell
from fbguard.facebook import oidc
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.graph import Outcome
from fbguard.facebook.oidc import CLOCK_MARGIN

if TYPE_CHECKING:
    from fbguard.facebook.upstream import Connection

_FRESH: Final = 3_600.0  # seconds for which keys are used without asking again
_USABLE: Final = 86_400.0  # seconds for which they are while Facebook cannot be asked
_EVERY: Final = 60.0  # seconds between two fetches, where there are keys that serve
_AGAIN: Final = 2.0  # seconds after a fetch that failed, where there are none
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class _Ring:
    """The keys of one fetch, and when it was: by both clocks, in seconds."""

    keys: oidc.Keys = field(repr=False)
    at: float
    wall: float


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
        self._has_failed = False

    async def look_up(self, here: Connection, token: Secret, fingerprint: str) -> Outcome:
        """Return the facts of an ID token; a Finding if the keys cannot be had. No deadline of its own."""
        unverified = oidc.parse(token)
        if isinstance(unverified, str):
            return oidc.dead(unverified, fingerprint)
        if self._lacks(unverified.key_id) and (here.fetch.is_under_way or self._may_fetch(here)):
            await here.fetch.shared(partial(self._fetch, here))
        ring = self._ring
        if ring is None or not self._is_within(ring.at, _USABLE):
            return UNAVAILABLE
        key = ring.keys.get(unverified.key_id)
        if key is None:
            return self._without_key(ring, unverified.issued, fingerprint)
        return oidc.read(token, unverified, key, fingerprint=fingerprint, now=self._clock.time())

    def _without_key(self, ring: _Ring, issued: int, fingerprint: str) -> Outcome:
        """Answer for a token under a key that Facebook does not list.

        Only of one that says to be as new as the list nobody knows: its key may not have been there yet.
        """
        if ring.wall - CLOCK_MARGIN < issued <= self._clock.time() + CLOCK_MARGIN:
            wait = math.ceil(max(self._tried + _EVERY - self._clock.monotonic(), 1.0))
            return Finding("unavailable", retry_after=wait)
        return oidc.dead("invalid_token", fingerprint)

    # -- the keys -------------------------------------------------------------------------------------------

    def _is_within(self, moment: float, seconds: float) -> bool:
        return 0 <= self._clock.monotonic() - moment < seconds  # else a snapshot has set time back

    def _lacks(self, key_id: str) -> bool:
        """Tell whether Facebook should be asked for keys before a token is judged."""
        ring = self._ring
        return ring is None or key_id not in ring.keys or not self._is_within(ring.at, _FRESH)

    def _may_fetch(self, here: Connection) -> bool:
        if self._ring is None or not self._is_within(self._ring.at, _USABLE):
            return not self._is_within(here.fetched_at, _AGAIN)
        # For all loops: who has a loop for each request has no limit on one of them.
        return not self._is_within(self._tried, _EVERY)

    async def _fetch(self, here: Connection) -> None:
        here.fetched_at = self._tried = self._clock.monotonic()
        reply = None
        try:
            async with asyncio.timeout(self._patience / 2):  # so that keys of before serve in time
                reply = await here.client.fetch(self._url)
        except TimeoutError:
            pass  # as if nobody had answered
        keys = oidc.read_keys(reply.body) if reply is not None and reply.status == _OK else None
        if keys is None:
            self._note_failure()
        else:
            self._take(keys)

    def _take(self, keys: oidc.Keys) -> None:
        before = None if self._ring is None else self._ring.keys.keys()
        self._ring = _Ring(keys, self._clock.monotonic(), self._clock.time())
        if keys.keys() != before or self._has_failed:
            self._tell(SigningKeysFetched(count=len(keys)))
        self._has_failed = False

    def _note_failure(self) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._tell(SigningKeysUnavailable())
