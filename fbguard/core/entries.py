"""What lies in the cache: a fact, when it was said, and how it stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fbguard.core.clock import Clock
from fbguard.core.token import TokenInfo

_READING: Final = 1e-3  # seconds between two readings of two clocks, at most, where nobody has set one
_MOST_STAYS: Final = 1024  # that are kept to be shared


@dataclass(frozen=True, slots=True)
class Known:
    """A fact, the wall time (seconds) at which to judge it, and the seconds since Graph said it.

    ``era`` is when the shared store was asked about it (:mod:`fbguard.stores.listening`), None if it was not.
    """

    info: TokenInfo
    now: float
    age: float = 0.0
    era: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A token that is known: its key, what is known, and the wall time at which it was first seen."""

    key: bytes
    info: TokenInfo
    since: float


class Stay:
    """How facts stay, the same for many: ``ttl`` seconds; for ``life`` seconds they are plain.

    ``offset`` is wall time less monotonic time when they came, ``era`` as in :class:`Known`.
    """

    __slots__ = ("era", "life", "offset", "ttl")

    def __init__(self, ttl: float, life: float, offset: float, era: int | None) -> None:
        self.ttl = ttl
        self.life = life
        self.offset = offset
        self.era = era


class Entry:
    """A fact in its place: ``said`` when, ``since`` when its token is known, both in wall time."""

    __slots__ = ("info", "said", "since", "stay", "used")

    def __init__(self, info: TokenInfo, said: float, since: float, stay: Stay) -> None:
        self.info = info
        self.said = said
        self.since = since
        self.stay = stay
        self.used = False


class Stays:
    """Gives each fact how it stays: the same object to many, for a million of them are kept.

    A good one is plain for ``fresh`` seconds at most. Not safe for threads: whoever asks holds a lock.
    """

    def __init__(self, clock: Clock, fresh: float) -> None:
        self._monotonic = clock.monotonic
        self._fresh = fresh
        self._shared: dict[tuple[float, float, int | None], Stay] = {}

    def of_good(self, info: TokenInfo, said: float, ttl: float, now: float, era: int | None) -> Stay:
        """Return how a good fact stays that Graph said at ``said``, stored ``now`` (seconds of wall time)."""
        return self._get(ttl, self._life(info, said, ttl), now, era)

    def of_bad(self, ttl: float, now: float, era: int | None) -> Stay:
        """Return how a no stays."""
        return self._get(ttl, 0.0, now, era)

    def _get(self, ttl: float, life: float, now: float, era: int | None) -> Stay:
        """Return the same object again where only the reading of the clocks differs."""
        offset = now - self._monotonic()
        found = self._shared.get((ttl, life, era))
        if found is None or not abs(found.offset - offset) < _READING:  # so that no NaN is shared
            if len(self._shared) >= _MOST_STAYS:
                self._shared.clear()
            found = self._shared[ttl, life, era] = Stay(ttl, life, offset, era)
        return found

    def _life(self, info: TokenInfo, said: float, ttl: float) -> float:
        """Return for how many seconds a good fact needs no judgement but of its scopes."""
        if info.type != "USER":
            return 0.0
        end = said + min(ttl, self._fresh)
        ends = [one for one in (info.expires, info.data_access_expires) if 0 < one < end]
        return min(ends) - said if ends else min(ttl, self._fresh)
