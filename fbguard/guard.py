"""The Guard: configuration, verdicts for both colours, and its end. The one object users hold."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self, Unpack, overload

from fbguard import assembly
from fbguard.core import background, credentials, settings
from fbguard.core.carrier import carrier_of_request, is_asgi
from fbguard.core.challenge import Site
from fbguard.core.clock import Clock, SystemClock
from fbguard.core.errors import Refused
from fbguard.core.health import Health
from fbguard.core.limits import Asker
from fbguard.core.options import LaterOptions, boxed_secret, from_environment, from_mapping, refuse_later
from fbguard.core.process import refuse_process
from fbguard.core.reasons import Finding
from fbguard.core.requirement import PathParams, Requirement
from fbguard.core.secret import Secret
from fbguard.core.signing import Signer
from fbguard.core.sources import TokenSources
from fbguard.core.token import TokenInfo
from fbguard.core.validator import Demands, Validator
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.graph import CredentialPlace, Graph

if TYPE_CHECKING:
    import httpx

_ANY_USER: Final = Requirement()
_GRACE: Final = 0.25  # seconds beyond the deadline, for the way to the background loop and back


class Guard:
    """Says whether a Facebook access token may pass, and remembers what Graph said about it.

    Times are seconds. ``app_id`` is compared exactly. ``app_secret`` may be a sequence while it is
    rotated: the first signs, all verify. ``ttl`` and ``negative_ttl`` bound how long a valid answer and
    a definite no are trusted; ``cache_size`` and ``negative_cache_size`` are entries of two separate
    stores. ``deadline`` is the total for one verdict. At most ``max_in_flight`` calls of Graph are under
    way in this process and at most ``max_queued`` wait for one; ``max_calls_per_second`` spaces them;
    ``batch`` lets those that wait share calls, up to fifty in one (docs/operations.md).
    ``stale_if_error`` is how long past its ttl a fact may be used while Graph cannot be asked, never past
    the token's end; ``refresh_ahead`` the fraction of the ttl after which a hit asks anew in the background.
    ``miss_limit`` is (count, seconds): look-ups of unknown tokens a client, by the peer's address or, from
    ``trusted_proxies`` (networks), by X-Forwarded-For.
    ``credential_in="query"`` sends the app credential as a query parameter, should Graph refuse the
    header. ``redirect_uri`` lets re-login hints carry the address of Facebook's login dialog.
    ``token_from`` are the places where a request may carry its token (:mod:`fbguard.core.sources`).
    ``clock`` is an object with ``time()`` and ``monotonic()``; ``transport`` an
    ``httpx.AsyncBaseTransport`` (tests), or a callable that makes one for each event loop (proxies, CAs).

    Wrong values raise TypeError or ValueError naming the option; so does what is not built yet
    (:class:`fbguard.core.options.LaterOptions`). RuntimeError under eventlet.
    """

    def __init__(
        self,
        *,
        app_id: str,
        app_secret: str | Sequence[str],
        ttl: float = 300.0,
        negative_ttl: float = 30.0,
        cache_size: int = 100_000,
        negative_cache_size: int = 10_000,
        stale_if_error: float = 0.0,
        refresh_ahead: float = 0.0,
        deadline: float = 3.0,
        max_in_flight: int = 100,
        max_queued: int = 1000,
        max_calls_per_second: float | None = None,
        batch: bool = False,
        graph_url: str = "https://graph.facebook.com",
        graph_version: str = "v26.0",
        credential_in: CredentialPlace = "header",
        dialog_url: str = "https://www.facebook.com",
        redirect_uri: str | None = None,
        realm: str = "fbguard",
        token_from: Sequence[str] = ("header",),
        miss_limit: tuple[int, float] | None = None,
        trusted_proxies: Sequence[str] = (),
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | Callable[[], httpx.AsyncBaseTransport] | None = None,
        **later: Unpack[LaterOptions],
    ) -> None:
        app_secret = settings.boxed(app_secret)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # first: no traceback shows it
        # Here and not above: importing fbguard is quick, and yet no first request waits for an import.
        from fbguard.facebook.transport import client_maker  # noqa: PLC0415

        refuse_later(later)
        refresh_ahead = settings.fraction("refresh_ahead", refresh_ahead)
        refuse_process(needs_timers=refresh_ahead > 0)
        secrets = settings.app_secrets(app_secret)
        site = Site(
            app_id=settings.app_id(app_id),
            realm=settings.realm(realm),
            dialog_url=settings.base_url("dialog_url", dialog_url),
            graph_version=settings.version(graph_version),
            redirect_uri=settings.redirect_uri(redirect_uri),
        )
        self.app_id: Final = site.app_id
        self.sources: Final = TokenSources.parse(token_from)
        self._graph = Graph(
            url=settings.base_url("graph_url", graph_url),
            version=site.graph_version,
            app_id=site.app_id,
            credential_in=settings.one_of("credential_in", credential_in, ("header", "query")),
        )
        clock = SystemClock() if clock is None else settings.clock(clock)
        self.graph_url: Final = self._graph.url
        self.graph_version: Final = self._graph.version
        self.signer: Final = Signer(secrets[0])
        self._deadline = settings.seconds("deadline", deadline)
        self._validator = Validator(
            assembly.make_upstream(
                self._graph,
                clock,
                secrets,
                deadline=self._deadline,
                max_in_flight=max_in_flight,
                max_queued=max_queued,
                max_calls_per_second=max_calls_per_second,
                batch=batch,
            ),
            assembly.make_cache(
                clock,
                ttl=ttl,
                negative_ttl=negative_ttl,
                cache_size=cache_size,
                negative_cache_size=negative_cache_size,
            ),
            site,
            signer=self.signer,
            deadline=self._deadline,
            miss_limit=assembly.make_miss_limit(clock, miss_limit, trusted_proxies, self._deadline),
            refresh_ahead=refresh_ahead,
            stale_if_error=settings.seconds_or_zero("stale_if_error", stale_if_error),
            open_client=client_maker(transport),
        )
        self._shut = weakref.finalize(self, self._validator.shut)

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Return a guard configured by ``FBGUARD_*`` variables; ``overrides`` win over them.

        ``FBGUARD_APP_SECRET`` may hold several secrets, separated by commas. Raises ValueError naming
        the variable when a needed one is missing or a number is none.
        """
        overrides = boxed_secret(overrides)
        return cls(**from_environment(overrides), **overrides)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Return a guard configured by a mapping from option to value: TOML or JSON data, settings.

        Raises TypeError or ValueError naming the option.
        """
        mapping = boxed_secret(mapping)  # first, as above
        return cls(**from_mapping(mapping))

    def check(
        self,
        token: str | None,
        requirement: Requirement | None = None,
        path_params: PathParams | None = None,
    ) -> TokenInfo:
        """Return the token's facts if it meets the requirement (None: any valid user token).

        Blocks for at most the deadline. Raises Refused for "no" and for "don't know" (None as token
        is ``missing_token``); RuntimeError for a target without the path parameter it names.
        """
        given = credentials.boxed(token)
        del token  # from here on it is a Secret: no traceback shows it
        found = credentials.screened(given)
        demands = _demands(requirement, path_params)
        verdict = self.consider(demands, found)
        return self.settle(demands, verdict) if isinstance(verdict, Secret) else verdict

    async def acheck(
        self,
        token: str | None,
        requirement: Requirement | None = None,
        path_params: PathParams | None = None,
    ) -> TokenInfo:
        """Do what :meth:`check` does, awaiting: one core, the same verdicts, the same cache."""
        given = credentials.boxed(token)
        del token
        found = credentials.screened(given)
        demands = _demands(requirement, path_params)
        verdict = self.consider(demands, found)
        return await self.asettle(demands, verdict) if isinstance(verdict, Secret) else verdict

    def peek(self, token: str) -> TokenInfo | None:
        """Return what is cached about a token, valid or not, judged by nobody. Never waits."""
        given = credentials.boxed(token)
        del token
        found = credentials.screened(given)
        known = self._validator.recall(found) if isinstance(found, Secret) else None
        return None if known is None else known.info

    def health(self) -> Health:
        """Return how the guard is, for a readiness route; asks nobody."""
        return self._validator.health()

    # What doors and the decorator use; the requirement of a request may be several demands.

    @overload
    def consider(
        self, demands: Demands, found: Secret | Finding, asker: Asker | None = None
    ) -> TokenInfo | Secret: ...
    @overload
    def consider(
        self, demands: Demands, found: Secret | Finding | None, asker: Asker | None = None
    ) -> TokenInfo | Secret | None: ...
    def consider(
        self, demands: Demands, found: Secret | Finding | None, asker: Asker | None = None
    ) -> TokenInfo | Secret | None:
        """Give the part of a verdict that needs no waiting: facts, None (anonymous), or raise Refused.

        ``found`` is what :mod:`fbguard.core.credentials` found. A Secret comes back when it must be
        looked up: then :meth:`settle` or :meth:`asettle` says the rest. ``asker`` is the request, whose
        client ``miss_limit`` counts.
        """
        if not self._shut.alive:
            raise RuntimeError("this guard is closed")
        return self._validator.consider(demands, found, asker)

    def settle(self, demands: Demands, token: Secret) -> TokenInfo:
        """Look a screened token up on the background loop and judge; raises Refused."""
        future = background.submit(self._validator.settle(demands, token))
        try:
            return future.result(self._deadline + _GRACE)
        except TimeoutError:
            future.cancel()
        raise self.refusal(UNAVAILABLE, demands)

    async def asettle(self, demands: Demands, token: Secret) -> TokenInfo:
        """Look a screened token up and judge, awaiting; raises Refused.

        On the running loop, but for a request of a WSGI server: an async view has a loop there that
        lives for one request, so the background loop does it.
        """
        carrier = carrier_of_request.get()
        if carrier is None or is_asgi(carrier):
            return await self._validator.settle(demands, token)
        return await asyncio.wrap_future(background.submit(self._validator.settle(demands, token)))

    def judge(self, demands: Demands, info: TokenInfo) -> TokenInfo:
        """Judge facts that the request already has against more demands; raises Refused."""
        return self._validator.judge_now(demands, info)

    def forget(self, token: Secret, info: TokenInfo | None = None) -> None:
        """Forget what is known about a token, with ``info`` unless something newer is known."""
        self._validator.forget(token, info)

    def now(self) -> float:
        """Return wall time in seconds, by the guard's clock."""
        return self._validator.now()

    def refusal(self, finding: Finding, demands: Demands = ()) -> Refused:
        """Return the exception that answers a finding."""
        return self._validator.refusal(finding, demands)

    async def aclose_here(self) -> None:
        """Close what belongs to the running loop; the guard stays usable."""
        await self._validator.aclose_here()

    def close(self) -> None:
        """Close every connection and end every look-up; idempotent. In async code use :meth:`aclose`."""
        self._shut()

    async def aclose(self) -> None:
        """Close every connection and end every look-up; idempotent."""
        await self._validator.aclose_here()
        await asyncio.to_thread(self._shut)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        if not hasattr(self, "_shut"):
            return "<Guard, not configured>"  # in the traceback of its own construction
        return f"<Guard app_id={self.app_id!r} graph={self._graph.url}/{self._graph.version}>"


def _demands(requirement: Requirement | None, path_params: PathParams | None) -> Demands:
    if not isinstance(requirement, Requirement | None):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"requirement must be a Requirement or None, not {type(requirement).__name__}")
    return ((_ANY_USER if requirement is None else requirement, path_params),)
