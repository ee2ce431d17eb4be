"""The one look-up: cache, flight, tombstones, Graph, cache."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from fbguard.core import background
from fbguard.core.cache import FactCache, Known, key_of
from fbguard.core.errors import OAuthException
from fbguard.core.flights import Flights
from fbguard.core.loops import PerLoop, closing_with_loop
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.core.signing import Signer
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.graph import Client
from fbguard.facebook.upstream import Connection, Upstream
from fbguard.revocation.tombstones import Tombstones

_ASKS = 2  # of one look-up: a token may be forgotten while Graph is asked about it
_CLOSING = 1.0  # seconds to wait for a loop of another thread to close what is on it

logger = logging.getLogger("fbguard")


class _Landed(NamedTuple):
    """What a flight found, and what :meth:`FactCache.mark` gave before it began."""

    known: Known
    mark: int


class _Local:
    """What a loop has for itself: a connection to Graph and the look-ups under way."""

    def __init__(self, connection: Connection, deadline: float) -> None:
        self.connection = connection
        self.flights: Flights[_Landed | Finding] = Flights(deadline)
        self._is_abandoned = False
        self._open = closing_with_loop(self._aclose)

    async def _aclose(self) -> None:
        if self._is_abandoned:
            return
        await self.flights.aclose()
        await self.connection.aclose()

    async def aclose(self) -> None:
        """End the look-ups and close the connections."""
        await self._open.aclose()

    def abandon(self) -> None:
        """Forget all of it in a forked child."""
        self._is_abandoned = True
        self.flights.abandon()
        self.connection.abandon()
        with suppress(StopIteration):
            self._open.aclose().send(None)  # nothing to wait for any more


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
        *,
        app_id: str,
        signer: Signer,
        deadline: float,
        open_client: Callable[[], Client],
    ) -> None:
        self._upstream = upstream
        self._cache = cache
        self._tombstones = tombstones
        self._app_id = app_id
        self._signer = signer
        self._refreshing: set[bytes] = set()
        self._local = PerLoop(lambda: _Local(upstream.connect(open_client()), deadline))

    async def find(self, token: Secret, max_age: float | None) -> Known | Finding:
        """Look a token up; a Finding is a don't-know, or says that its session was ended."""
        local, key = self._local.here(), key_of(token)
        for _ in range(_ASKS):
            landed = await local.flights.ask(key, lambda: self._look_up(local.connection, token, max_age))
            if not isinstance(landed, _Landed):
                return landed or UNAVAILABLE
            if not self._cache.is_forgotten(key, landed.known.info.user_id, landed.mark):
                return landed.known
            # It was forgotten on the way from the flight to here: once more.
        return UNAVAILABLE

    async def revoke(self, token: Secret, user: str) -> OAuthException | Finding | None:
        """End all tokens of a person for the app at Facebook; None when it is done, else why it is not."""
        return await self._upstream.revoke(
            self._local.here().connection, token, user, self._signer.proof(token)
        )

    def refresh(self, token: Secret) -> None:
        """Look a token up anew while its fact is still good; once at a time, and nobody waits for it."""
        key = key_of(token)
        if key in self._refreshing:
            return
        self._refreshing.add(key)
        background.submit(self._refreshed(key, token))

    async def _refreshed(self, key: bytes, token: Secret) -> None:
        try:
            await self.find(token, 0.0)
        finally:
            self._refreshing.discard(key)

    async def _look_up(
        self, connection: Connection, token: Secret, max_age: float | None
    ) -> _Landed | Finding:
        key = key_of(token)
        for _ in range(_ASKS):
            mark = self._cache.mark()
            stone = self._tombstones.of_token(key)
            if stone is not None:
                return Finding(stone.why)
            # An earlier flight may have landed between the caller's look and its boarding.
            found = self._cache.get(key, max_age) or await self._ask(connection, token, mark)
            if found is not None:
                return _Landed(found, mark) if isinstance(found, Known) else found
        return UNAVAILABLE

    async def _ask(self, connection: Connection, token: Secret, mark: int) -> Known | Finding | None:
        """Ask Graph and store what it says; None if the token was forgotten meanwhile."""
        fingerprint = self._signer.fingerprint(token)
        outcome = await self._upstream.debug_token(connection, token, fingerprint)
        if isinstance(outcome, Finding):
            logger.debug("token %s: %s (code %s)", fingerprint, outcome.reason, outcome.code)
            return outcome
        stone = self._tombstones.of_facts(outcome)
        if stone is not None:  # whatever Graph says: it may lag behind
            self._tombstones.bury(key_of(token), stone)
            return Finding(stone.why)
        good = (
            outcome.is_valid
            and outcome.app_id == self._app_id
            and not 0 < outcome.expires <= self._cache.now()
        )
        logger.debug("token %s: %s", fingerprint, "valid" if good else "not valid")
        return self._cache.put(key_of(token), outcome, good=good, mark=mark)

    async def aclose_here(self) -> None:
        """Close the running loop's client and cancel its look-ups."""
        local = self._local.take(asyncio.get_running_loop())
        if local is not None:
            await local.aclose()

    def shut(self) -> None:
        """Close what was opened on the loops of this process, each on its own loop.

        At close(), when the guard is collected, or at the end of the process. On a thread whose loop is
        running (a collection can happen anywhere) it must not wait.
        """
        try:
            asyncio.get_running_loop()
            may_wait = False
        except RuntimeError:
            may_wait = True
        for loop in self._local.loops():
            if not loop.is_running():
                continue  # its sockets went with it
            done = asyncio.run_coroutine_threadsafe(self.aclose_here(), loop)
            if may_wait:
                try:
                    done.result(_CLOSING)
                except TimeoutError:
                    done.cancel()
