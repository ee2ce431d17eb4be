"""How many look-ups of unknown tokens one client may cause.

A client is an address: the peer's, or one that a trusted proxy forwards. IPv6 clients own whole networks,
so a /64 is one client. limits (PyPI) keeps its counters by the system's clock, in a store without a bound;
here both matter, and the rule is three lines.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from collections.abc import Callable, MutableMapping, Sequence
from typing import Final, Protocol

from cachetools import LRUCache

from fbguard.core import forks

_CLIENTS: Final = 100_000  # that are remembered
_LOOK_UPS: Final = 10_000  # under way, that are remembered
_V6_NETWORK: Final = 64  # bits


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Asker(Protocol):
    """What the rule reads of a request."""

    @property
    def client(self) -> str | None:
        """The peer's address."""
        ...

    def header(self, name: str) -> Sequence[str]:
        """Return the values of a header, in order; ``name`` in lower case."""
        ...


class MissLimit:
    """``count`` look-ups at once, and as many again in each ``seconds``, for each client.

    The generic cell rate algorithm: one number a client, the time at which its look-ups would be paid off
    at the steady rate. Requests that share a look-up, which takes ``deadline`` seconds at most, count once.
    """

    def __init__(
        self,
        count: int,
        seconds: float,
        proxies: Sequence[Network],
        monotonic: Callable[[], float],
        deadline: float,
    ) -> None:
        self._interval = seconds / count
        self._seconds = seconds
        self._proxies = proxies
        self._monotonic = monotonic
        self._deadline = deadline
        self._paid_at: MutableMapping[str, float] = LRUCache(_CLIENTS)
        self._under_way: MutableMapping[bytes, float] = LRUCache(_LOOK_UPS)
        self.begin_anew()
        forks.each_in_child(self)

    def take(self, asker: Asker, key: bytes) -> float:
        """Count a look-up of ``key``; return 0, or the seconds to wait if there were too many.

        Without an address (a Unix socket, and no trusted proxy) nobody can be told from anybody: 0.
        """
        with self._lock:
            now = self._monotonic()
            if 0 <= now - self._under_way.get(key, -math.inf) < self._deadline:
                return 0.0
            wait = self._charge(asker, now)
            if not wait:
                self._under_way[key] = now
            return wait

    def charge(self, asker: Asker) -> float:
        """Count what nobody shares; return as :meth:`take` does."""
        with self._lock:
            return self._charge(asker, self._monotonic())

    def _charge(self, asker: Asker, now: float) -> float:
        client = client_of(asker, self._proxies)
        if client is None:
            return 0.0
        paid_at = self._paid_at.get(client, now)
        if not now < paid_at <= now + self._seconds + self._interval:
            paid_at = now  # paid off, or the machine goes on from a snapshot
        paid_at += self._interval
        if paid_at - now > self._seconds + self._interval / 1000:  # for the sum of many fractions
            return paid_at - now - self._seconds
        self._paid_at[client] = paid_at
        return 0.0

    def begin_anew(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        # To be entered again: a clock is its user's code, and a collection in it may end a look-up.
        self._lock = threading.RLock()

    def landed(self, key: bytes) -> None:
        """Note that the look-up of ``key`` is over: the next one counts."""
        with self._lock:
            self._under_way.pop(key, None)


def client_of(asker: Asker, proxies: Sequence[Network]) -> str | None:
    """Return who a request comes from: the last address in X-Forwarded-For that no trusted proxy has.

    Only what trusted proxies have appended counts; what stands before it the client may have written.
    """
    peer = asker.client
    address = _address(peer)
    if peer and address is None:
        return peer  # a name, as of test clients
    hops = [hop.strip() for value in asker.header("x-forwarded-for") for hop in value.split(",")]
    while hops and (address is None or any(address in network for network in proxies)) and proxies:
        forwarded = _address(hops.pop())
        if forwarded is None:
            break
        address = forwarded
    return None if address is None else _group(address)


def _address(text: str | None) -> Address | None:
    """Read an address; some proxies write the client's port behind it, IPv6 then stands in brackets."""
    host, _, _ = (text or "").removeprefix("[").partition("]")
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _group(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, _V6_NETWORK), strict=False))
