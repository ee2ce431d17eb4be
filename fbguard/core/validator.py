"""The one look-up (cache, flight, Graph, cache) and the verdict over what is known."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from fbguard.core import background, credentials
from fbguard.core.cache import FactCache, Known, key_of
from fbguard.core.challenge import Site, refuse
from fbguard.core.errors import Refused
from fbguard.core.flights import Flights
from fbguard.core.health import Health
from fbguard.core.limits import Asker, MissLimit
from fbguard.core.loops import PerLoop, closing_with_loop
from fbguard.core.reasons import Finding
from fbguard.core.requirement import PathParams, Requirement, judge
from fbguard.core.secret import Secret
from fbguard.core.signing import Signer
from fbguard.core.token import TokenInfo
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.graph import Client
from fbguard.facebook.upstream import Connection, Upstream

Demands = Sequence[tuple[Requirement, PathParams | None]]

_ASKS = 2  # of one look-up: a token may be forgotten while Graph is asked about it
_CLOSING = 1.0  # seconds to wait for a loop of another thread to close what is on it

logger = logging.getLogger("fbguard")


class _Local:
    """What a loop has for itself: a connection to Graph and the look-ups under way."""

    def __init__(self, connection: Connection, deadline: float) -> None:
        self.connection = connection
        self.flights: Flights[Known | Finding] = Flights(deadline)
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


class Validator:
    """Knows what is known about tokens, finds out the rest, and says yes or raises.

    ``signer`` makes the fingerprints; ``deadline`` is seconds, total, for one verdict;
    ``refresh_ahead`` is a fraction of the ttl, ``stale_if_error`` seconds beyond it; ``open_client``
    makes an HTTP client for the running loop.
    """

    def __init__(
        self,
        upstream: Upstream,
        cache: FactCache,
        site: Site,
        *,
        signer: Signer,
        deadline: float,
        miss_limit: MissLimit | None,
        refresh_ahead: float,
        stale_if_error: float,
        open_client: Callable[[], Client],
    ) -> None:
        self._upstream = upstream
        self._cache = cache
        self._site = site
        self._signer = signer
        self._miss_limit = miss_limit
        self._refresh_ahead = refresh_ahead
        self._stale_if_error = stale_if_error
        self._refreshing: set[bytes] = set()
        self._local = PerLoop(lambda: _Local(upstream.connect(open_client()), deadline))

    def recall(self, token: Secret) -> Known | None:
        """Return what is known about a token; never waits, never asks."""
        return self._cache.get(key_of(token))

    def forget(self, token: Secret, info: TokenInfo | None = None) -> None:
        """Forget what is known about a token: the next request that carries it is looked up.

        With ``info`` only if nothing newer is known.
        """
        self._cache.forget(key_of(token), info)

    def now(self) -> float:
        """Return wall time in seconds."""
        return self._cache.now()

    def consider(
        self, demands: Demands, found: Secret | Finding | None, asker: Asker | None = None
    ) -> TokenInfo | Secret | None:
        """Give the part of a verdict that needs no waiting.

        ``found`` is what :mod:`fbguard.core.credentials` found in the request. Returns the facts (yes),
        None (yes, as anonymous) or the token, when it must be looked up. Raises Refused.
        """
        if found is None:
            if all(requirement.optional for requirement, _ in demands):
                return None
            raise self.refusal(credentials.MISSING, demands)
        if isinstance(found, Finding):
            raise self.refusal(found, demands)
        known = self._cache.get(key_of(found), self._max_age(demands))
        if known is None:
            self._count(found, asker, demands)
            return found
        if self._refresh_ahead and known.info.is_valid and known.age >= self._refresh_ahead * self._cache.ttl:
            self._refresh(found)
        return self._judge(known, demands)

    def _count(self, token: Secret, asker: Asker | None, demands: Demands) -> None:
        """Count a look-up of an unknown token for its client; raises Refused if there were too many."""
        if self._miss_limit is None or asker is None or self._cache.knows(key_of(token)):
            return
        wait = self._miss_limit.take(asker, key_of(token))
        if wait:
            raise self.refusal(Finding("too_many_lookups", retry_after=math.ceil(wait)), demands)

    def health(self) -> Health:
        """Return how things are."""
        reason, since = self._upstream.trouble
        return Health(
            "ok" if reason is None else "degraded",
            reason,
            None if reason is None else datetime.fromtimestamp(since, UTC),
            self._upstream.in_flight,
            len(self._cache),
        )

    def _refresh(self, token: Secret) -> None:
        """Look a token up anew while its fact is still good; once at a time, and nobody waits for it."""
        key = key_of(token)
        if key in self._refreshing:
            return
        self._refreshing.add(key)
        background.submit(self._refreshed(key, token))

    async def _refreshed(self, key: bytes, token: Secret) -> None:
        try:
            local = self._local.here()
            await local.flights.ask(key, lambda: self._look_up(local.connection, token, 0.0))
        finally:
            self._refreshing.discard(key)

    async def settle(self, demands: Demands, token: Secret) -> TokenInfo:
        """Look a screened token up and judge what comes back. Raises Refused."""
        local, key, max_age = self._local.here(), key_of(token), self._max_age(demands)
        known = await local.flights.ask(key, lambda: self._look_up(local.connection, token, max_age))
        if self._miss_limit is not None:
            self._miss_limit.landed(key)
        if not isinstance(known, Known):
            last = (
                self._cache.stale(key, self._grace(demands))
                if max_age is None
                else self._cache.get(key, max_age)  # of another loop, meanwhile
            )
            if last is None:
                raise self.refusal(UNAVAILABLE if known is None else known, demands)
            known = last
        return self._judge(known, demands)

    @staticmethod
    def _max_age(demands: Demands) -> float | None:
        """Return how old a fact may be for all of the demands, None if that does not matter."""
        asked = [one.max_fact_age for one, _ in demands if one.max_fact_age is not None]
        return min(asked) if asked else None

    def _grace(self, demands: Demands) -> float:
        """Return the seconds past its ttl for which a fact may be used while Graph cannot be asked."""
        asked = [
            self._stale_if_error if one.stale_if_error is None else one.stale_if_error for one, _ in demands
        ]
        return min(asked, default=self._stale_if_error)

    def refusal(self, finding: Finding, demands: Demands) -> Refused:
        """Return the exception for a finding, with what the demands ask for in a new login."""
        asked = dict.fromkeys(
            scope for requirement, _ in demands for scope in requirement.scopes or requirement.any_scope
        )
        return refuse(finding, self._site, tuple(asked))

    def judge_now(self, demands: Demands, info: TokenInfo) -> TokenInfo:
        """Judge facts at this moment; raises Refused."""
        return self._judge(Known(info, self._cache.now()), demands)

    def _judge(self, known: Known, demands: Demands) -> TokenInfo:
        for requirement, path_params in demands:
            finding = judge(
                known.info,
                requirement,
                app_id=self._site.app_id,
                now=known.now,
                path_params=path_params,
            )
            if finding is not None:
                raise self.refusal(finding, demands)
        return known.info

    async def _look_up(self, connection: Connection, token: Secret, max_age: float | None) -> Known | Finding:
        known = self._cache.get(key_of(token), max_age)
        if known is not None:
            return known  # an earlier flight landed between the caller's look and its boarding
        for _ in range(_ASKS):
            found = await self._ask(connection, token, self._cache.mark(key_of(token)))
            if found is not None:
                return found
        return UNAVAILABLE

    async def _ask(self, connection: Connection, token: Secret, mark: int) -> Known | Finding | None:
        """Ask Graph and store what it says; None if the token was forgotten meanwhile."""
        fingerprint = self._signer.fingerprint(token)
        outcome = await self._upstream.debug_token(connection, token, fingerprint)
        if isinstance(outcome, Finding):
            logger.debug("token %s: %s (code %s)", fingerprint, outcome.reason, outcome.code)
            return outcome
        good = (
            outcome.is_valid
            and outcome.app_id == self._site.app_id
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
