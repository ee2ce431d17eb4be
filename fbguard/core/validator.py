"""The one look-up (cache, flight, Graph, cache) and the verdict over what is known."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from fbguard.core import credentials
from fbguard.core.cache import FactCache, Known, key_of
from fbguard.core.challenge import Site, refuse
from fbguard.core.errors import Refused
from fbguard.core.flights import Flights
from fbguard.core.loops import PerLoop, closing_with_loop
from fbguard.core.reasons import Finding
from fbguard.core.requirement import PathParams, Requirement, judge
from fbguard.core.secret import Secret
from fbguard.core.signing import Signer
from fbguard.core.token import TokenInfo
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.graph import Client, Graph

Demands = Sequence[tuple[Requirement, PathParams | None]]

_CLOSING = 1.0  # seconds to wait for a loop of another thread to close what is on it

logger = logging.getLogger("fbguard")


class _Local:
    """What a loop has for itself: an HTTP client and the look-ups under way."""

    def __init__(self, client: Client, deadline: float) -> None:
        self.client = client
        self.flights: Flights[Known | Finding] = Flights(deadline)
        self._is_abandoned = False
        self._open = closing_with_loop(self._aclose)

    async def _aclose(self) -> None:
        if self._is_abandoned:
            return
        await self.flights.aclose()
        await self.client.aclose()

    async def aclose(self) -> None:
        """End the look-ups and close the connections."""
        await self._open.aclose()

    def abandon(self) -> None:
        """Forget all of it in a forked child."""
        self._is_abandoned = True
        self.flights.abandon()
        self.client.abandon()
        with suppress(StopIteration):
            self._open.aclose().send(None)  # nothing to wait for any more


class Validator:
    """Knows what is known about tokens, finds out the rest, and says yes or raises.

    ``signer`` makes the fingerprints; ``deadline`` is seconds, total, for one verdict; ``open_client``
    makes an HTTP client for the running loop.
    """

    def __init__(
        self,
        graph: Graph,
        cache: FactCache,
        site: Site,
        *,
        signer: Signer,
        deadline: float,
        open_client: Callable[[], Client],
    ) -> None:
        self._graph = graph
        self._cache = cache
        self._site = site
        self._signer = signer
        self._local = PerLoop(lambda: _Local(open_client(), deadline))

    def recall(self, token: Secret) -> Known | None:
        """Return what is known about a token; never waits, never asks."""
        return self._cache.get(key_of(token))

    def forget(self, token: Secret) -> None:
        """Forget what is known about a token: the next request that carries it is looked up."""
        self._cache.drop(key_of(token))

    def now(self) -> float:
        """Return wall time in seconds."""
        return self._cache.now()

    def consider(self, demands: Demands, found: Secret | Finding | None) -> TokenInfo | Secret | None:
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
        known = self.recall(found)
        return found if known is None else self._judge(known, demands)

    async def settle(self, demands: Demands, token: Secret) -> TokenInfo:
        """Look a screened token up and judge what comes back. Raises Refused."""
        local = self._local.here()
        known = await local.flights.ask(key_of(token), lambda: self._look_up(local.client, token))
        if known is None:
            raise self.refusal(UNAVAILABLE, demands)
        if isinstance(known, Finding):
            raise self.refusal(known, demands)
        return self._judge(known, demands)

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

    async def _look_up(self, client: Client, token: Secret) -> Known | Finding:
        known = self.recall(token)
        if known is not None:
            return known  # an earlier flight landed between the caller's look and its boarding
        fingerprint = self._signer.fingerprint(token)
        outcome = await self._graph.debug_token(client, token, fingerprint)
        if isinstance(outcome, Finding):
            logger.debug("token %s: %s (code %s)", fingerprint, outcome.reason, outcome.code)
            return outcome
        good = (
            outcome.is_valid
            and outcome.app_id == self._site.app_id
            and not 0 < outcome.expires <= self._cache.now()
        )
        logger.debug("token %s: %s", fingerprint, "valid" if good else "not valid")
        return self._cache.put(key_of(token), outcome, good=good)

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
