"""The one look-up: cache, flight, tombstones, the other workers, Graph, and back."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import NamedTuple

from fbguard.core import background
from fbguard.core.cache import FactCache, key_of
from fbguard.core.entries import Known
from fbguard.core.errors import OAuthException, StoreUnavailable
from fbguard.core.health import StoreHealth
from fbguard.core.loop_lookups import Landed, LoopLookUps
from fbguard.core.loops import PerLoop, is_on_loop
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.core.signing import Signer
from fbguard.core.token import TokenError, TokenInfo
from fbguard.events import LookUpAnswer, Tell, TokenLookedUp
from fbguard.facebook.connection import Connection
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.graph import Client
from fbguard.facebook.upstream import Upstream
from fbguard.revocation.live import LiveConnections
from fbguard.revocation.tombstones import Tombstone, Tombstones
from fbguard.stores.codec import Fact
from fbguard.stores.shared import Look, SharedStore

_ASKS = 2  # of one look-up: a token may be forgotten while Graph is asked about it
_CLOSING = 1.0  # seconds to wait for a loop of another thread to close what is on it


class _Start(NamedTuple):
    """When a look-up began: by :meth:`FactCache.mark`, and in wall time."""

    mark: int
    began: float


class LookUps:
    """Finds out about tokens, each once at a time on a loop, and keeps what Graph says.

    ``signer`` makes the fingerprints; ``deadline`` is seconds, total, for one look-up; ``open_client``
    makes an HTTP client for the running loop.
    """

    def __init__(
        self,
        upstream: Upstream,
        cache: FactCache,
        tombstones: Tombstones,
        shared: SharedStore | None,
        live: LiveConnections,
        *,
        app_id: str,
        signer: Signer,
        deadline: float,
        open_client: Callable[[], Client],
        monotonic: Callable[[], float],
        tell: Tell,
    ) -> None:
        self._upstream = upstream
        self._cache = cache
        self._tombstones = tombstones
        self._shared = shared
        self._live = live
        self._app_id = app_id
        self._signer = signer
        self._monotonic = monotonic
        self._deadline = deadline
        self._tell = tell
        self._refreshing: set[tuple[int, bytes]] = set()
        self._local = PerLoop(lambda: LoopLookUps(upstream.connect(open_client()), deadline))

    async def find(self, token: Secret, max_age: float | None) -> Known | Finding:
        """Look a token up; a Finding is a don't-know, or says that its session was ended."""
        local, key = self._local.here(), key_of(token)
        due = local.flights.due()
        for _ in range(_ASKS):
            landed = await local.flights.ask(
                key, lambda: self._look_up(local.connection, token, max_age), due
            )
            if not isinstance(landed, Landed):
                return landed or UNAVAILABLE
            if not self._cache.is_forgotten(key, landed.known.info.user_id, landed.mark):
                return landed.known
            # It was forgotten on the way from the flight to here: once more.
        return UNAVAILABLE

    def store_health(self) -> StoreHealth | None:
        """Return how the shared store is, None without one."""
        return None if self._shared is None else self._shared.health()

    async def revoke(self, token: Secret, user: str) -> OAuthException | Finding | None:
        """End all tokens of a person for the app at Facebook; None when it is done, else why it is not."""
        return await self._upstream.revoke(
            self._local.here().connection, token, user, self._signer.proof(token)
        )

    async def exchange(self, code: Secret, redirect_uri: str) -> Secret | Finding:
        """Exchange a code of the login dialog for a token; a Finding says why there is none."""
        return await self._upstream.exchange(self._local.here().connection, code, redirect_uri)

    async def user_of(self, token: Secret) -> str | None:
        """Return whose token Graph says it is, whether it lives or not; None if it does not say."""
        outcome = await self._upstream.look_up(
            self._local.here().connection, token, self._signer.fingerprint(token)
        )
        return None if isinstance(outcome, Finding) else outcome.user_id

    def refresh(self, token: Secret) -> None:
        """Look a token up anew while its fact is still good; once at a time, and nobody waits for it."""
        key = (os.getpid(), key_of(token))  # a forked child has none of its parent's under way
        if key not in self._refreshing:
            self._refreshing.add(key)
            if not background.attempt(self._refreshed(key, token)):
                self._refreshing.discard(key)  # the fact still counts, and the next hit tries again

    async def _refreshed(self, key: tuple[int, bytes], token: Secret) -> None:
        try:
            await self.find(token, 0.0)
        finally:
            self._refreshing.discard(key)

    async def _look_up(
        self, connection: Connection, token: Secret, max_age: float | None
    ) -> Landed | Finding:
        key, began = key_of(token), self._cache.now()
        for _ in range(_ASKS):
            mark = self._cache.mark()
            stone = self._tombstones.of_token(key)
            if stone is not None:
                return Finding(stone.why)
            # An earlier flight may have landed between the caller's look and its boarding.
            found = self.recall(key, max_age) or await self._find_anew(
                connection, token, max_age, _Start(mark, began)
            )
            if found is not None:
                return Landed(found, mark) if isinstance(found, Known) else found
        return UNAVAILABLE

    def recall(self, key: bytes, max_age: float | None) -> Known | None:
        """Return what is known of a token here and need not be asked for; never waits.

        With a shared store only what was asked for there since this process has heard of all that ends.
        """
        known = self._cache.get(key, max_age)
        if known is None or self._shared is None or not self._shared.doubts(known.era):
            return known
        return None

    async def _find_anew(
        self, connection: Connection, token: Secret, max_age: float | None, start: _Start
    ) -> Known | Finding | None:
        """Ask the other workers, then Graph; None if the token was forgotten meanwhile."""
        if self._shared is None:
            return await self._ask(connection, token, start)
        look = await self._shared.find(key_of(token), claims=max_age is None)
        if look.mark is None:  # the store is away: what is in memory counts until its time is over
            return self._cache.get(key_of(token), max_age) or await self._ask(connection, token, start)
        if look.stone is not None:
            return self._ended(token, look.stone)
        if look.fact is not None:
            self._tombstones.heed_user(look.fact.info.user_id, look.user_stone)
            age = max(self._cache.now() - look.fact.said, 0.0)
            if age < min(self._cache.ttl_of(good=look.fact.good), math.inf if max_age is None else max_age):
                return self._stored(token, look.fact, age, start, look.era)
        return await self._ask_for_all(self._shared, connection, token, start, look)

    def _stored(
        self, token: Secret, fact: Fact, age: float, start: _Start, era: int | None
    ) -> Known | Finding | None:
        """Store a fact here, unless a tombstone by user refuses it: Graph may lag behind."""
        since = min(fact.since, start.began)
        stone = self._tombstones.of_facts(fact.info, since)
        if stone is not None:
            return self._ended(token, stone)
        if not fact.good:  # open connections learn of it, too
            self._live.end_token(key_of(token), _why_not(fact.info))
        return self._cache.put(
            key_of(token), fact.info, good=fact.good, mark=start.mark, age=age, since=since, era=era
        )

    def _ended(self, token: Secret, stone: Tombstone) -> Finding:
        """Remember a tombstone that was found elsewhere as this token's own; its fact counts no more."""
        self._tombstones.bury(key_of(token), stone)
        self._cache.forget(key_of(token))  # or it would be believed while the store is away
        self._live.end_token(key_of(token), Finding(stone.why))
        return Finding(stone.why)

    async def _ask(self, connection: Connection, token: Secret, start: _Start) -> Known | Finding | None:
        """Ask Graph and store here what it says; None if the token was forgotten meanwhile."""
        fact = await self._said(connection, token, start)
        return fact if isinstance(fact, Finding) else self._stored(token, fact, 0.0, start, None)

    async def _ask_for_all(
        self, shared: SharedStore, connection: Connection, token: Secret, start: _Start, look: Look
    ) -> Known | Finding | None:
        """Ask Graph and store for all workers what it says; None if the token was forgotten meanwhile."""
        fact, key = await self._said(connection, token, start), key_of(token)
        if isinstance(fact, Finding):
            await shared.release(key, look)
            return await self._ended_by_user(shared, token) or fact
        user_id, ttl = fact.info.user_id, self._cache.ttl_of(good=fact.good)
        try:
            self._tombstones.heed_user(user_id, await shared.stone_of_user(user_id))
            if not await shared.keep(key, fact, ttl=ttl, look=look):
                return None
        except StoreUnavailable:
            look = Look()  # what ended meanwhile may not be known
        return self._stored(token, fact, 0.0, start, look.era)

    async def _ended_by_user(self, shared: SharedStore, token: Secret) -> Finding | None:
        """Refuse what memory knows of a token, and may serve where Graph is silent, if its user has left.

        Of other workers' tombstones those by token are known; whose it is nobody but memory knows.
        """
        info = self._cache.peek(key_of(token))
        if info is None:
            return None
        try:
            self._tombstones.heed_user(info.user_id, await shared.stone_of_user(info.user_id))
        except StoreUnavailable:
            return None
        stone = self._tombstones.of_facts(info, self._cache.since(key_of(token)) or 0.0)
        return None if stone is None else self._ended(token, stone)

    async def _said(self, connection: Connection, token: Secret, start: _Start) -> Fact | Finding:
        """Ask Graph."""
        fingerprint, asked = self._signer.fingerprint(token), self._monotonic()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            outcome = await self._upstream.look_up(connection, token, fingerprint)
        except asyncio.CancelledError:
            if loop.time() - begun >= self._deadline / 2:  # out of time; the guard is not being closed
                # Later: whoever is told must not see what is handled here.
                tell = partial(self._tell_of, fingerprint, "unknown", UNAVAILABLE, asked)
                loop.call_soon(tell, context=Context())
            raise
        if isinstance(outcome, Finding):
            self._tell_of(fingerprint, "unknown", outcome, asked)
            return outcome
        now = self._cache.now()
        good = outcome.is_valid and outcome.app_id == self._app_id and not 0 < outcome.expires <= now
        self._tell_of(fingerprint, "yes" if good else "no", outcome.error, asked)
        return Fact(outcome, now, min(start.began, self._cache.since(key_of(token)) or start.began), good)

    def _tell_of(
        self, token: str, answer: LookUpAnswer, why: Finding | TokenError | None, asked: float
    ) -> None:
        reason, code = (None, None) if why is None else (why.reason, why.code)
        took = max(self._monotonic() - asked, 0.0)
        self._tell(TokenLookedUp(token=token, answer=answer, reason=reason, code=code, seconds=took))

    async def aclose_here(self) -> None:
        """Close the running loop's client and cancel its look-ups."""
        local = self._local.take(asyncio.get_running_loop())
        if local is not None:
            await local.aclose()
        if self._shared is not None:
            await self._shared.aclose_here()

    def shut(self) -> None:
        """Close what was opened on the loops of this process, each on its own loop.

        At close(), when the guard is collected, or at the end of the process. On a thread whose loop is
        running (a collection can happen anywhere) it must not wait.
        """
        may_wait = not is_on_loop()
        if self._shared is not None:
            self._shared.shut()
        for loop in self._loops():
            if not loop.is_running():
                continue  # its sockets went with it
            done = asyncio.run_coroutine_threadsafe(self.aclose_here(), loop)
            if may_wait:
                try:
                    done.result(_CLOSING)
                except TimeoutError:
                    done.cancel()

    def _loops(self) -> set[asyncio.AbstractEventLoop]:
        """Return the loops of this process on which there is something to close."""
        return {*self._local.loops(), *(() if self._shared is None else self._shared.loops())}


def _why_not(info: TokenInfo) -> Finding:
    error = info.error
    return Finding("invalid_token") if error is None else Finding(error.reason, error.code, error.subcode)
