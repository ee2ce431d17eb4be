"""A guard's parts from its options; wrong ones raise TypeError or ValueError naming the option."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast
from urllib.parse import urlsplit

from fbguard.core import settings
from fbguard.core.cache import FactCache
from fbguard.core.clock import Clock
from fbguard.core.governor import Governor
from fbguard.core.limits import MissLimit
from fbguard.core.secret import Secret
from fbguard.events import Tell, TombstoneDropped
from fbguard.facebook.credentials import Credentials
from fbguard.facebook.graph import Graph
from fbguard.facebook.upstream import Upstream
from fbguard.revocation.revoker import Revoker
from fbguard.revocation.tombstones import Tombstones
from fbguard.stores.codec import SCHEMA, Codec
from fbguard.stores.protocol import Store
from fbguard.stores.shared import SharedStore

_PORTS: Final = {"https": 443, "http": 80}


def make_cache(
    clock: Clock,
    *,
    ttl: float,
    negative_ttl: float,
    cache_size: int,
    negative_cache_size: int,
    refresh_ahead: float,
) -> FactCache:
    """Return the store of facts."""
    return FactCache(
        clock,
        ttl=settings.seconds("ttl", ttl),
        negative_ttl=settings.seconds("negative_ttl", negative_ttl),
        size=settings.size("cache_size", cache_size),
        negative_size=settings.size("negative_cache_size", negative_cache_size),
        fresh=refresh_ahead or 1.0,
    )


def make_tombstones(clock: Clock, tell: Tell) -> Tombstones:
    """Return the tombstones; it is told when one must go before its time."""
    return Tombstones(clock.time, lambda: tell(TombstoneDropped()))


def redis_store(url: Secret, named: str = "store") -> Store:
    """Return the store of a URL; ``named`` is what a ValueError calls it."""
    from fbguard.stores.redis import RedisStore  # noqa: PLC0415 - who has none need not have redis-py

    try:
        return RedisStore(url)
    except ValueError as error:
        text = str(error).removeprefix("store: ")
    raise ValueError(f"{named}: {text}")


def make_shared(
    store: object,
    cache: FactCache,
    revoker: Revoker,
    clock: Clock,
    secrets: Sequence[Secret],
    *,
    parts: Sequence[str],
    tell: Tell,
) -> SharedStore | None:
    """Return the guard's side of a shared store, wired to what ends sessions here; None without a store.

    ``parts`` are app id, Graph's URL and version; guards with another version share what has ended, but no
    facts. A Secret is the URL of a Redis.
    """
    if store is None:
        return None
    if isinstance(store, Secret):
        store = redis_store(store)
    if isinstance(store, type) or not callable(getattr(store, "space", None)):
        raise TypeError("store must be a URL or a fbguard.stores.protocol.Store, which has a method space()")
    app_id, url, version = parts
    where = _place(url)
    codec = Codec((app_id, where), version, secrets)
    named = f"{SCHEMA}:{app_id}:{where}"
    revoker.shared = SharedStore(cast("Store", store), named, codec, clock, revoker, tell=tell)
    cache.eras = revoker.shared.eras
    return revoker.shared


def _place(url: str) -> str:
    """Return where Graph is, the same for all spellings of a URL."""
    parts = urlsplit(url)
    port = "" if parts.port in {None, _PORTS[parts.scheme]} else f":{parts.port}"
    host = (parts.hostname or "").removesuffix(".")
    scheme = "" if parts.scheme == "https" else f"{parts.scheme}:"
    return f"{scheme}{f'[{host}]' if ':' in host else host}{port}{parts.path}"


def make_upstream(
    graph: Graph,
    clock: Clock,
    secrets: Sequence[Secret],
    *,
    deadline: float,
    max_in_flight: int,
    max_queued: int,
    max_calls_per_second: float | None,
    batch: bool,
    jwks_url: str | None,
    tell: Tell,
) -> Upstream:
    """Return Graph with all that stands in front of it, and the keys at ``jwks_url`` (None: not needed)."""
    governor = Governor(
        clock,
        max_in_flight=settings.size("max_in_flight", max_in_flight),
        max_queued=settings.size("max_queued", max_queued),
        max_calls_per_second=settings.optional_rate("max_calls_per_second", max_calls_per_second),
        patience=deadline,
    )
    credentials = Credentials(graph.app_id, secrets, clock.monotonic, tell)
    id_tokens = None
    if jwks_url is not None:
        from fbguard.facebook.id_tokens import IdTokens  # noqa: PLC0415 - needs what not everyone needs

        id_tokens = IdTokens(jwks_url, clock, patience=deadline, tell=tell)
    batch = settings.flag("batch", batch)
    return Upstream(graph, governor, credentials, clock, batch=batch, id_tokens=id_tokens, tell=tell)


def make_miss_limit(
    clock: Clock, miss_limit: object, trusted_proxies: object, deadline: float
) -> MissLimit | None:
    """Return the limit of look-ups a client, None for no limit."""
    proxies = settings.networks("trusted_proxies", trusted_proxies)
    if miss_limit is None:
        if proxies:
            raise ValueError("trusted_proxies has no effect without miss_limit")
        return None
    pair = list(cast("Sequence[object]", miss_limit)) if isinstance(miss_limit, tuple | list) else []
    if len(pair) != 2:  # noqa: PLR2004
        raise TypeError("miss_limit must be (count, seconds)")
    count, seconds = pair
    return MissLimit(
        settings.size("miss_limit", count),
        settings.seconds("miss_limit", seconds),
        proxies,
        clock.monotonic,
        deadline,
    )
