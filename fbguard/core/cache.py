"""What is known about tokens, for a while: facts only, never decisions.

Two stores, so that a flood of invented tokens cannot push out good ones. Keys are SHA-256 digests:
no live token lies in memory. A fact is believed until the *stricter* of wall and monotonic clock
says that its time is over; so neither a wall clock set back nor a machine that slept prolongs it.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import MutableMapping
from dataclasses import dataclass
from weakref import WeakSet

from cachetools import LRUCache

from fbguard.core.clock import Clock
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo


def key_of(token: Secret) -> bytes:
    """Return a token's key in this process: its SHA-256 digest (32 bytes)."""
    return hashlib.sha256(token.reveal().encode()).digest()


@dataclass(frozen=True, slots=True)
class Known:
    """A fact and the wall time (seconds) at which to judge it."""

    info: TokenInfo
    now: float


@dataclass(frozen=True, slots=True)
class _Entry:
    info: TokenInfo
    wall: float
    monotonic: float
    ttl: float


_caches: WeakSet[FactCache] = WeakSet()


class FactCache:
    """Positive facts for ``ttl`` seconds, definite noes for ``negative_ttl``; safe for threads.

    ``size`` and ``negative_size`` are numbers of entries; the least recently used go first.
    """

    def __init__(
        self, clock: Clock, *, ttl: float, negative_ttl: float, size: int, negative_size: int
    ) -> None:
        self._clock = clock
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._good: MutableMapping[bytes, _Entry] = LRUCache(size)
        self._bad: MutableMapping[bytes, _Entry] = LRUCache(negative_size)
        self._lock = threading.Lock()
        _caches.add(self)

    def now(self) -> float:
        """Return wall time in seconds."""
        return self._clock.time()

    def get(self, key: bytes) -> Known | None:
        """Return the fact stored under ``key`` if it may still be believed."""
        with self._lock:
            entry = self._good.get(key) or self._bad.get(key)
        if entry is None:
            return None
        # Seconds since the fact was stored, by the clock that counts more of them.
        age = max(self._clock.time() - entry.wall, self._clock.monotonic() - entry.monotonic)
        if age >= entry.ttl:
            self._drop_if_same(key, entry)
            return None
        return Known(entry.info, entry.wall + age)

    def put(self, key: bytes, info: TokenInfo, *, good: bool) -> Known:
        """Store a fact; ``good`` tells which store. Returns it with the time to judge it at."""
        wall, monotonic = self._clock.time(), self._clock.monotonic()
        ttl = self._ttl if good else self._negative_ttl
        store, other = (self._good, self._bad) if good else (self._bad, self._good)
        with self._lock:
            other.pop(key, None)
            store[key] = _Entry(info, wall, monotonic, ttl)
        return Known(info, wall)

    def _drop_if_same(self, key: bytes, entry: _Entry) -> None:
        """Drop an entry whose time is over, unless another thread has stored a new one meanwhile."""
        with self._lock:
            for store in (self._good, self._bad):
                if store.get(key) is entry:
                    del store[key]

    def drop(self, key: bytes) -> None:
        """Forget what is stored under ``key``."""
        with self._lock:
            self._good.pop(key, None)
            self._bad.pop(key, None)

    def __len__(self) -> int:
        with self._lock:
            return len(self._good) + len(self._bad)

    def renew_lock(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()


def _renew_locks() -> None:
    for cache in _caches:
        cache.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
