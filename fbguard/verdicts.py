"""Verdicts for both colours, and what doors and views need of a guard besides."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar, overload

from fbguard.core import background, credentials
from fbguard.core.carrier import carrier_of_request, is_asgi
from fbguard.core.errors import Refused
from fbguard.core.health import Health
from fbguard.core.loops import is_on_loop
from fbguard.core.reasons import Finding
from fbguard.core.requirement import PathParams, Requirement
from fbguard.core.secret import Secret
from fbguard.core.sources import RequestHead, TokenSources
from fbguard.core.token import TokenInfo
from fbguard.core.validator import Demands, Validator
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.revocation.revoker import Revoker

T = TypeVar("T")

_logger: Final = logging.getLogger("fbguard")
_ANY_USER: Final = Requirement()
_GRACE: Final = 0.25  # seconds beyond the deadline, for the way to the background loop and back


class Verdicts:
    """The part of a :class:`fbguard.Guard` that says yes or no."""

    #: The hit path of doors: :meth:`fbguard.core.cache.FactCache.plain`, until the guard is closed.
    plain: Callable[[bytes, frozenset[str]], TokenInfo | None]
    #: Who the guard is, for what must not keep it alive.
    mark: object
    #: The guard's wall clock, in seconds, without a method around it.
    wall: Callable[[], float]
    #: Where a request may carry its token, and of which kinds.
    sources: TokenSources
    _validator: Validator
    _revoker: Revoker
    _deadline: float
    _has_warned = False  # of check() on an event loop

    def _is_open(self) -> bool:
        """Tell whether the guard may still be used; the guard itself knows."""
        raise NotImplementedError

    def _refuse_closed(self) -> None:
        """Raise RuntimeError once the guard is closed: whatever was asked would open connections again."""
        if not self._is_open():
            raise RuntimeError("this guard is closed")

    def _screened(self, given: Secret) -> Secret | Finding:
        return credentials.screened(given, id_tokens=self.sources.id_tokens)

    def check(
        self,
        token: str | None,
        requirement: Requirement | None = None,
        path_params: PathParams | None = None,
    ) -> TokenInfo:
        """Return the token's facts if it meets the requirement (None: any valid user token).

        Blocks for at most the deadline, an event loop too: in async code use :meth:`acheck`. Raises
        Refused for "no" and for "don't know" (None as token is ``missing_token``); RuntimeError for a
        target without the path parameter it names.
        """
        given = credentials.boxed(token)
        del token  # from here on it is a Secret: no traceback shows it
        found = self._screened(given)
        demands = _demands(requirement, path_params)
        verdict = self.consider(demands, found)
        if not isinstance(verdict, Secret):
            return verdict
        self._warn_if_on_loop()
        return self.settle(demands, verdict)

    async def acheck(
        self,
        token: str | None,
        requirement: Requirement | None = None,
        path_params: PathParams | None = None,
    ) -> TokenInfo:
        """Do what :meth:`check` does, awaiting: one core, the same verdicts, the same cache."""
        given = credentials.boxed(token)
        del token
        found = self._screened(given)
        demands = _demands(requirement, path_params)
        verdict = self.consider(demands, found)
        return await self.asettle(demands, verdict) if isinstance(verdict, Secret) else verdict

    def _warn_if_on_loop(self) -> None:
        """Say once that others wait, too: a view of ASGI is about to hold up the loop of all requests.

        In WSGI a view's loop lives for its own request.
        """
        carrier = carrier_of_request.get()
        if self._has_warned or not is_on_loop() or not (carrier is None or is_asgi(carrier)):
            return
        self._has_warned = True
        _logger.warning(
            "guard.check waits for Facebook on an event loop; there it is `await guard.acheck(...)`"
        )

    def peek(self, token: str) -> TokenInfo | None:
        """Return what is cached about a token, valid or not, judged by nobody. Never waits."""
        given = credentials.boxed(token)
        del token
        found = self._screened(given)
        known = self._validator.recall(found) if isinstance(found, Secret) else None
        return None if known is None else known.info

    def health(self) -> Health:
        """Return how the guard is, for a readiness route; asks nobody."""
        return self._validator.health()

    # What doors and the decorator use; the requirement of a request may be several demands.

    @overload
    def consider(
        self, demands: Demands, found: Secret | Finding, asker: RequestHead | None = None
    ) -> TokenInfo | Secret: ...
    @overload
    def consider(
        self, demands: Demands, found: Secret | Finding | None, asker: RequestHead | None = None
    ) -> TokenInfo | Secret | None: ...
    def consider(
        self, demands: Demands, found: Secret | Finding | None, asker: RequestHead | None = None
    ) -> TokenInfo | Secret | None:
        """Give the part of a verdict that needs no waiting: facts, None (anonymous), or raise Refused.

        ``found`` is what :mod:`fbguard.core.credentials` found. A Secret comes back when it must be
        looked up: then :meth:`settle` or :meth:`asettle` says the rest. ``asker`` is the request, whose
        client ``miss_limit`` counts.
        """
        self._refuse_closed()
        missing = credentials.MISSING if found is not None or asker is None else self.sources.missing(asker)
        return self._validator.consider(demands, found, asker, missing)

    def settle(self, demands: Demands, token: Secret) -> TokenInfo:
        """Look a screened token up on the background loop and judge; raises Refused."""
        info = self._wait(self._validator.settle(demands, token), demands)
        self._validator.refuse_ended(token, info, demands)
        return info

    def _wait(self, work: Coroutine[Any, Any, T], demands: Demands = ()) -> T:
        """Have work done on the background loop; raises Refused when it takes longer than anybody waits."""
        with suppress(background.NoLoop):
            future = background.submit(work)
            try:
                return future.result(self._deadline + _GRACE)
            except TimeoutError:
                future.cancel()
            finally:
                del future  # it holds what it raises, which holds this frame: no circle may keep the request
        raise self.refusal(UNAVAILABLE, demands)

    async def asettle(self, demands: Demands, token: Secret) -> TokenInfo:
        """Look a screened token up and judge, awaiting; raises Refused.

        On the running loop, but for a request of a WSGI server: an async view has a loop there that
        lives for one request, so the background loop does it.
        """
        carrier = carrier_of_request.get()
        if carrier is None or is_asgi(carrier):
            return await self._validator.settle(demands, token)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._deadline + _GRACE):
                info = await asyncio.wrap_future(background.submit(self._validator.settle(demands, token)))
                self._validator.refuse_ended(token, info, demands)
                return info
        raise self.refusal(UNAVAILABLE, demands)

    def judge(self, demands: Demands, info: TokenInfo) -> TokenInfo:
        """Judge facts that the request already has against more demands; raises Refused."""
        return self._validator.judge_now(demands, info)

    def forget(self, token: Secret, info: TokenInfo | None = None) -> None:
        """Forget what is known about a token, with ``info`` unless something newer is known.

        Of a guard that is closed nobody asks any more: there is no need, and an answer is on its way.
        """
        if self._is_open():
            self._revoker.forget(token, info)

    def now(self) -> float:
        """Return wall time in seconds, by the guard's clock."""
        return self._validator.now()

    def refusal(self, finding: Finding, demands: Demands = ()) -> Refused:
        """Return the exception that answers a finding."""
        return self._validator.refusal(finding, demands)


def _demands(requirement: Requirement | None, path_params: PathParams | None) -> Demands:
    if not isinstance(requirement, Requirement | None):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"requirement must be a Requirement or None, not {type(requirement).__name__}")
    return ((_ANY_USER if requirement is None else requirement, path_params),)
