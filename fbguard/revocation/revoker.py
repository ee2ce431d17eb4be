"""Ending sessions: what was said to be over is refused here from the moment the call returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fbguard import events
from fbguard.core.cache import FactCache, key_of
from fbguard.core.entries import Seen
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.core.signing import Signer
from fbguard.core.token import TokenInfo
from fbguard.events import Tell
from fbguard.revocation.live import LiveConnections
from fbguard.revocation.tombstones import FOREVER, LIFETIME, Tombstone, Tombstones
from fbguard.stores.news import News
from fbguard.stores.shared import SharedStore
from fbguard.stores.telling import Stones


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
    """:class:`Sessions` over this process and, with a shared store, over all. ``..._here`` needs no loop.

    First the tombstone, then the facts: whoever looks a token up in between finds the tombstone at the
    latest when he stores what Graph said. With the store away the effect is here, and StoreUnavailable
    is raised.
    """

    def __init__(
        self,
        cache: FactCache,
        tombstones: Tombstones,
        live: LiveConnections,
        signer: Signer,
        tell: Tell = events.log,
    ) -> None:
        self._cache = cache
        self._tombstones = tombstones
        self._live = live
        self._signer = signer
        self._tell = tell
        self.shared: SharedStore | None = None

    # -- by token ----------------------------------------------------------------------------------------

    async def expire(self, token: Secret) -> None:
        """End the session of a token."""
        await self.spread(self.expire_here(token))

    def expire_here(self, token: Secret) -> News:
        """End the session of a token in this process; return what the others should hear."""
        key = key_of(token)
        news = News("token", key.hex(), Tombstone("session_invalidated", self._end_of(key)))
        self.hear(news)
        self._tell(events.SessionEnded(token=self._signer.fingerprint(token)))
        return news

    def _end_of(self, key: bytes) -> float:
        """Return when a tombstone may go: with its token, if that one's end is known."""
        now, known = self._cache.now(), self._cache.peek(key)
        if known is None or not known.is_valid or 0 < known.expires <= now:
            return now + LIFETIME
        return known.expires or now + FOREVER

    # -- by user -----------------------------------------------------------------------------------------

    async def end_user(self, user_id: str, at: float) -> None:
        """Refuse a user's tokens up to ``at`` (unix seconds)."""
        await self.spread(self.end_user_here(user_id, at))

    def end_user_here(self, user_id: str, at: float) -> News:
        """Refuse a user's tokens up to ``at`` in this process; return what the others should hear."""
        now = self._cache.now()
        news = News("user", user_id, Tombstone("not_authorized", now + LIFETIME, at, now))
        self.hear(news)
        self._tell(events.UserSessionsEnded(user=self._signer.short(user_id)))
        return news

    async def forget_user(self, user_id: str) -> None:
        """Have every token of a user looked up anew."""
        await self.spread(self.forget_user_here(user_id))

    def forget_user_here(self, user_id: str) -> News:
        """Have every token of a user looked up anew in this process; return what the others should hear."""
        news = News("forget_user", user_id, None)
        self.hear(news)
        self._tell(events.UserForgotten(user=self._signer.short(user_id)))
        return news

    # -- the effects -------------------------------------------------------------------------------------

    async def spread(self, news: News) -> None:
        """Do in the shared store, and so in all processes, what was done here."""
        if self.shared is not None:
            await self.shared.spread(news)

    def hear(self, news: News) -> None:
        """Do in this process what was done in another, or is to be done first here. Again does no harm."""
        if news.what == "token" and news.stone is not None:
            key = bytes.fromhex(news.name)
            self._tombstones.bury(key, news.stone)
            self._cache.forget(key)
            self._live.end_token(key, Finding(news.stone.why))
        elif news.what == "user" and news.stone is not None:
            self._end_user(news.name, news.stone)
        elif news.what == "forget":
            self._cache.forget(bytes.fromhex(news.name))
        elif news.what == "forget_user":
            self._cache.forget_user(news.name)
        elif news.what == "doubt" and self.shared is not None:
            self.shared.eras.renew()

    def _end_user(self, user_id: str, stone: Tombstone) -> None:
        """Refuse a user's tokens; of those whose issue time nobody knows the ones that were seen before."""
        stone = self._tombstones.bury_user(user_id, stone)
        # Before they are forgotten: a look-up that begins then must find them.
        self._bury_seen(self._cache.seen_of(user_id), stone)
        self._bury_seen(self._cache.forget_user(user_id), stone)
        self._live.end_user(user_id, stone.covers, Finding(stone.why))

    def _bury_seen(self, seen: Sequence[Seen], stone: Tombstone) -> None:
        for one in seen:
            if stone.covers(one.info, one.since):
                self._tombstones.bury(one.key, stone)
                self._live.end_token(one.key, Finding(stone.why))

    def forget(self, token: Secret, info: TokenInfo | None) -> None:
        """Have a token looked up anew, with ``info`` unless something newer is known; elsewhere soon."""
        if self._cache.forget(key_of(token), info) and self.shared is not None:
            self.shared.forget_soon(key_of(token))

    def is_ended(self, token: Secret) -> bool:
        """Tell whether a token has a tombstone of its own."""
        return self._tombstones.of_token(key_of(token)) is not None

    async def all_ended(self, user_id: str) -> None:
        """Note that Facebook has ended all of a user's tokens: what is cached and open goes."""
        self._live.end_user(user_id, lambda _info, _since: True, Finding("not_authorized"))
        await self.forget_user(user_id)

    # -- what the store asks -----------------------------------------------------------------------------

    def stones(self) -> Stones:
        """Return the tombstones that are remembered here, of tokens by key and of users."""
        return self._tombstones.all()

    def watched(self) -> Sequence[tuple[bytes, TokenInfo, float]]:
        """Return the tokens of connections that are open here, by key, and since when."""
        return self._live.tokens()
