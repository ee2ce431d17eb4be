"""Ending sessions: what was said to be over is refused here from the moment the call returns."""

from __future__ import annotations

import logging
from typing import Protocol

from fbguard.core.cache import FactCache, key_of
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.core.signing import Signer
from fbguard.revocation.live import LiveConnections
from fbguard.revocation.tombstones import LIFETIME, Tombstone, Tombstones

logger = logging.getLogger("fbguard")


class Sessions(Protocol):
    """What ends sessions; all effects are in the store when the coroutine returns."""

    async def expire(self, token: Secret) -> None:
        """End the session of a token: it is refused as ``session_invalidated``."""
        ...

    async def end_user(self, user_id: str, at: float) -> None:
        """Refuse the user's tokens up to ``at`` (unix seconds) as ``not_authorized``, later ones not."""
        ...

    async def forget_user(self, user_id: str) -> None:
        """Have every token of a user looked up anew."""
        ...


class Revoker:
    """:class:`Sessions` over one process. The ``..._here`` methods need no loop.

    First the tombstone, then the facts: whoever looks a token up in between finds the tombstone at the
    latest when he stores what Graph said.
    """

    def __init__(
        self, cache: FactCache, tombstones: Tombstones, live: LiveConnections, signer: Signer
    ) -> None:
        self._cache = cache
        self._tombstones = tombstones
        self._live = live
        self._signer = signer

    def expire_here(self, token: Secret) -> None:
        """End the session of a token in this process."""
        key = key_of(token)
        stone = Tombstone("session_invalidated", self._end_of(key))
        self._tombstones.bury(key, stone)
        self._cache.forget(key)
        self._live.end_token(key, Finding(stone.why))
        logger.info("token %s: its session was ended", self._signer.fingerprint(token))

    def _end_of(self, key: bytes) -> float:
        """Return when a tombstone may go: with the token, if its end is known."""
        known = self._cache.peek(key)
        return (known.expires if known else 0) or self._cache.now() + LIFETIME

    def end_user_here(self, user_id: str, at: float) -> None:
        """Refuse a user's tokens up to ``at`` in this process.

        Of tokens whose issue time nobody knows those count that were seen here before.
        """
        stone = Tombstone("not_authorized", self._cache.now() + LIFETIME, at)
        self._tombstones.bury_user(user_id, stone)
        for seen in self._cache.forget_user(user_id):
            if (seen.info.issued or seen.since) <= at:
                self._tombstones.bury(seen.key, stone)
        self._live.end_user(user_id, at, Finding(stone.why))
        logger.info("user %s: sessions were ended", self._signer.short(user_id))

    def forget_user_here(self, user_id: str) -> None:
        """Have every token of a user looked up anew in this process."""
        self._cache.forget_user(user_id)
        logger.info("user %s: tokens will be looked up anew", self._signer.short(user_id))

    async def expire(self, token: Secret) -> None:
        """End the session of a token."""
        self.expire_here(token)

    async def end_user(self, user_id: str, at: float) -> None:
        """Refuse a user's tokens up to ``at`` (unix seconds)."""
        self.end_user_here(user_id, at)

    async def forget_user(self, user_id: str) -> None:
        """Have every token of a user looked up anew."""
        self.forget_user_here(user_id)
