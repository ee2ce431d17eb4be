"""The Guard: configuration, verdicts for both colours, and its end. The one object users hold."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from fbguard import assembly
from fbguard.core import settings
from fbguard.core.challenge import Site
from fbguard.core.clock import Clock, SystemClock
from fbguard.core.lookups import LookUps
from fbguard.core.options import (
    NEEDED,
    STORE,
    NoOptions,
    boxed_secret,
    from_environment,
    from_mapping,
    refuse_unknown,
)
from fbguard.core.process import refuse_process
from fbguard.core.signing import Signer
from fbguard.core.sources import TokenSources
from fbguard.core.validator import Validator
from fbguard.events import Event, teller
from fbguard.facebook.graph import CredentialPlace, Graph
from fbguard.legacy.sessions import SessionRegistry
from fbguard.logins import LogsIn
from fbguard.revocation.live import LiveConnections
from fbguard.revocation.revoker import Revoker

if TYPE_CHECKING:
    import httpx

    from fbguard.stores.protocol import Store


class Guard(LogsIn):
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
    ``store`` is shared with other guards of the app (:mod:`fbguard.stores.protocol`).
    ``credential_in="query"`` sends the app credential as a query parameter, should Graph refuse the
    header. ``redirect_uri`` lets re-login hints carry the address of Facebook's login dialog.
    ``token_from`` are the places where a request may carry its token (:mod:`fbguard.core.sources`).
    ``clock`` is an object with ``time()`` and ``monotonic()``; ``transport`` an
    ``httpx.AsyncBaseTransport`` (tests), or a callable that makes one for each event loop (proxies, CAs).
    ``on_event`` is called with each :class:`fbguard.events.Event`, where it happens: on event loops and
    in threads, so it must return at once; what it raises is logged.

    ``limited_login`` takes ID tokens of Limited Login, too, on routes whose ``token_types`` name them
    (docs/limited_login.md): they are verified by the keys at ``jwks_url``. Needs ``fbguard[jwt]``.

    Wrong values raise TypeError or ValueError naming the option. RuntimeError under eventlet.
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
        max_in_flight: int = 200,
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
        store: Store | str | None = None,
        miss_limit: tuple[int, float] | None = None,
        trusted_proxies: Sequence[str] = (),
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | Callable[[], httpx.AsyncBaseTransport] | None = None,
        on_event: Callable[[Event], object] | None = None,
        limited_login: bool = False,
        jwks_url: str = "https://www.facebook.com/.well-known/oauth/openid/jwks/",
        **unknown: Unpack[NoOptions],
    ) -> None:
        app_secret = settings.boxed(app_secret)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # first: no traceback shows it
        store = settings.boxed(store)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # a URL holds a password
        # Here and not above: importing fbguard is quick, and yet no first request waits for an import.
        from fbguard.facebook.transport import client_maker  # noqa: PLC0415

        refuse_unknown("Guard", unknown, OPTIONS)
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
        self.app_id = site.app_id
        self.sources = TokenSources.parse(token_from, id_tokens=settings.flag("limited_login", limited_login))
        self._graph = Graph(
            url=settings.base_url("graph_url", graph_url),
            version=site.graph_version,
            app_id=site.app_id,
            credential_in=settings.one_of("credential_in", credential_in, ("header", "query")),
        )
        self.jwks_url: Final = settings.url("jwks_url", jwks_url)
        clock = SystemClock() if clock is None else settings.clock(clock)
        tell = teller(on_event)
        self.graph_url: Final = self._graph.url
        self.graph_version: Final = self._graph.version
        self.signer: Final = Signer(secrets[0])
        self._deadline = settings.seconds("deadline", deadline)
        self._cache = assembly.make_cache(
            clock,
            ttl=ttl,
            negative_ttl=negative_ttl,
            cache_size=cache_size,
            negative_cache_size=negative_cache_size,
            refresh_ahead=refresh_ahead,
        )
        upstream = assembly.make_upstream(
            self._graph,
            clock,
            secrets,
            deadline=self._deadline,
            max_in_flight=max_in_flight,
            max_queued=max_queued,
            max_calls_per_second=max_calls_per_second,
            batch=batch,
            jwks_url=self.jwks_url if limited_login else None,
            tell=tell,
        )
        self.plain, self.wall, self.mark = self._cache.plain, clock.time, object()
        tombstones = assembly.make_tombstones(clock, tell)
        self.live = LiveConnections(clock)
        self._revoker = Revoker(self._cache, tombstones, self.live, self.signer, tell)
        # Facts are shared by those who ask in the same places.
        parts = (site.app_id, self.graph_url, self._graph.version + (f" {jwks_url}" if limited_login else ""))
        self._look_ups = LookUps(
            upstream,
            self._cache,
            tombstones,
            assembly.make_shared(store, self._cache, self._revoker, clock, secrets, parts=parts, tell=tell),
            self.live,
            app_id=site.app_id,
            signer=self.signer,
            deadline=self._deadline,
            open_client=client_maker(transport, tell),
            monotonic=clock.monotonic,
            tell=tell,
        )
        self._validator = Validator(
            self._look_ups,
            upstream,
            self._cache,
            tombstones,
            site,
            miss_limit=assembly.make_miss_limit(clock, miss_limit, trusted_proxies, self._deadline),
            refresh_ahead=refresh_ahead,
            stale_if_error=settings.seconds_or_zero("stale_if_error", stale_if_error),
        )
        self._secrets = secrets
        self._registry = SessionRegistry()
        self._shut = weakref.finalize(self, self._look_ups.shut)

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Return a guard configured by ``FBGUARD_*`` variables; ``overrides`` win over them.

        ``FBGUARD_APP_SECRET`` may hold several secrets, separated by commas. Raises ValueError naming
        the variable when a needed one is missing, or a number or the store's URL is none.
        """
        overrides = boxed_secret(overrides)
        options = from_environment(overrides)
        if "store" in options:
            options["store"] = assembly.redis_store(options["store"], named=STORE)
        return cls(**options, **overrides)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Return a guard configured by a mapping from option to value: TOML or JSON data, settings.

        Raises TypeError or ValueError naming the option.
        """
        mapping = boxed_secret(mapping)  # first, as above
        return cls(**from_mapping(mapping))

    def _is_open(self) -> bool:
        return self._shut.alive

    async def aclose_here(self) -> None:
        """Close what belongs to the running loop; the guard stays usable."""
        await self._look_ups.aclose_here()

    def close(self) -> None:
        """Close every connection and end every look-up; idempotent. In async code use :meth:`aclose`."""
        self.plain = _nothing
        self._shut()

    async def aclose(self) -> None:
        """Close every connection and end every look-up; idempotent."""
        self.plain = _nothing
        await self._look_ups.aclose_here()
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


#: The names of a guard's options.
OPTIONS: Final = (*sorted(NEEDED), *(Guard.__init__.__kwdefaults__ or ()))


def _nothing(_key: bytes, _scopes: frozenset[str]) -> None:
    """Know nothing: of a guard that is closed."""
