"""The verdict over what is known about a token, or is found out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from fbguard.core import credentials
from fbguard.core.cache import FactCache, key_of
from fbguard.core.challenge import Site, refuse
from fbguard.core.credentials import is_id_token
from fbguard.core.entries import Known
from fbguard.core.errors import Refused
from fbguard.core.health import Health
from fbguard.core.judge import judge
from fbguard.core.limited_login import LIMITED_LOGIN
from fbguard.core.limits import Asker, MissLimit
from fbguard.core.lookups import LookUps
from fbguard.core.reasons import REASONS, Finding
from fbguard.core.requirement import PathParams, Requirement
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.facebook.upstream import Upstream
from fbguard.revocation.tombstones import Tombstones

Demands = Sequence[tuple[Requirement, PathParams | None]]

_DONT_KNOW = 503


class Validator:
    """Knows what is known about tokens, has the rest found out, and says yes or raises.

    ``refresh_ahead`` is a fraction of the ttl, ``stale_if_error`` seconds beyond it.
    """

    def __init__(
        self,
        look_ups: LookUps,
        upstream: Upstream,
        cache: FactCache,
        tombstones: Tombstones,
        site: Site,
        *,
        miss_limit: MissLimit | None,
        refresh_ahead: float,
        stale_if_error: float,
    ) -> None:
        self._look_ups = look_ups
        self._upstream = upstream
        self._cache = cache
        self._tombstones = tombstones
        self.site = site
        self._miss_limit = miss_limit
        self._refresh_ahead = refresh_ahead
        self._stale_if_error = stale_if_error

    def recall(self, token: Secret) -> Known | None:
        """Return what is known about a token; never waits, never asks."""
        return self._cache.get(key_of(token))

    def now(self) -> float:
        """Return wall time in seconds."""
        return self._cache.now()

    def consider(
        self,
        demands: Demands,
        found: Secret | Finding | None,
        asker: Asker | None = None,
        missing: Finding = credentials.MISSING,
    ) -> TokenInfo | Secret | None:
        """Give the part of a verdict that needs no waiting.

        ``found`` is what :mod:`fbguard.core.credentials` found in the request; ``missing`` is why, if that is
        nothing. Returns the facts (yes), None (yes, as anonymous) or the token, when it must be looked up.
        Raises Refused.
        """
        if found is None:
            if all(requirement.optional for requirement, _ in demands):
                return None
            raise self.refusal(missing, demands)
        if isinstance(found, Finding):
            raise self.refusal(found, demands)
        self._refuse_limited(found, demands)
        known = self._look_ups.recall(key_of(found), self._max_age(demands))
        if known is None:
            self._refuse_ended(found, demands)
            self._count(found, asker, demands)
            return found
        if self._refresh_ahead and known.info.is_valid and known.age >= self._refresh_ahead * self._cache.ttl:
            self._look_ups.refresh(found)
        return self._judge(known, demands)

    def _refuse_limited(self, token: Secret, demands: Demands) -> None:
        """Refuse an ID token where only Graph's will do: nobody need find out what it is worth there."""
        if is_id_token(token) and any(LIMITED_LOGIN not in one.token_types for one, _ in demands):
            raise self.refusal(credentials.LIMITED_LOGIN, demands)

    def charge(self, asker: Asker) -> None:
        """Count what else a client has Graph asked for; raises Refused if that was too often."""
        wait = 0.0 if self._miss_limit is None else self._miss_limit.charge(asker)
        if wait:
            raise self.refusal(Finding("too_many_lookups", retry_after=math.ceil(wait)), ())

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
            self._look_ups.store_health(),
        )

    async def settle(self, demands: Demands, token: Secret) -> TokenInfo:
        """Look a screened token up and judge what comes back. Raises Refused."""
        max_age = self._max_age(demands)
        try:
            found = await self._look_ups.find(token, max_age)
        finally:
            if self._miss_limit is not None:
                self._miss_limit.landed(key_of(token))
        if not isinstance(found, Known):
            found = self._last_resort(key_of(token), max_age, found, demands)
        return self._judge(found, demands)

    def _last_resort(self, key: bytes, max_age: float | None, finding: Finding, demands: Demands) -> Known:
        """Return a fact that serves although Graph gave none, or raise what it said instead."""
        known = None
        if REASONS[finding.reason].status == _DONT_KNOW:
            known = (
                self._cache.stale(key, self._grace(demands))
                if max_age is None
                else self._cache.get(key, max_age)  # of another loop, meanwhile
            )
        if known is None:
            raise self.refusal(finding, demands)
        return known

    def _refuse_ended(self, token: Secret, demands: Demands) -> None:
        """Raise Refused for a token whose session was ended."""
        stone = self._tombstones.of_token(key_of(token))
        if stone is not None:
            raise self.refusal(Finding(stone.why), demands)

    def refuse_ended(self, token: Secret, info: TokenInfo, demands: Demands) -> None:
        """Raise Refused if the session was ended while the verdict was on its way between threads."""
        self._refuse_ended(token, demands)
        since = self._cache.since(key_of(token))
        stone = self._tombstones.of_facts(info, math.inf if since is None else since)
        if stone is not None:
            raise self.refusal(Finding(stone.why), demands)

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
        return refuse(finding, self.site, tuple(asked))

    def judge_now(self, demands: Demands, info: TokenInfo) -> TokenInfo:
        """Judge facts at this moment; raises Refused."""
        return self._judge(Known(info, self._cache.now()), demands)

    def _judge(self, known: Known, demands: Demands) -> TokenInfo:
        for requirement, path_params in demands:
            finding = judge(
                known.info,
                requirement,
                app_id=self.site.app_id,
                now=known.now,
                path_params=path_params,
            )
            if finding is not None:
                raise self.refusal(finding, demands)
        return known.info
