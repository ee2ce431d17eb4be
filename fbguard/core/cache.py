"""What is known about tokens, for a while: facts only, never decisions.

Two stores, so that a flood of invented tokens cannot push out good ones. Keys are SHA-256 digests:
no live token lies in memory. A fact is believed until the *stricter* of wall and monotonic clock
says that its time is over; so neither a wall clock set back nor a machine that slept prolongs it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Protocol

from cachetools import LRUCache

from fbguard.core import forks
from fbguard.core.bounded import Bounded
from fbguard.core.clock import Clock
from fbguard.core.entries import Entry, Known, Seen, Stays
from fbguard.core.generations import Generations
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.core.user_index import UserIndex


def key_of(token: Secret) -> bytes:
    """Return a token's key in this process: its SHA-256 digest (32 bytes)."""
    return token.digest()


class Eras(Protocol):
    """Who knows in which era the shared store's news are heard (:mod:`fbguard.stores.listening`)."""

    era: int | None


_FORGOTTEN = 10_000  # keys and users; a look-up lasts seconds, and nobody forgets that many meanwhile
_SPREAD_FROM = 1000  # entries; fewer of them may end together
_SPREAD = 0.1  # of the ttl


class FactCache:
    """Positive facts for ``ttl`` seconds, definite noes for ``negative_ttl``; safe for threads.

    ``size`` and ``negative_size`` are numbers of entries; who was not used for long goes first. Positive
    facts stay in their places after their time, for :meth:`stale`; they are plain for ``fresh`` of the ttl.
    Of many, which a deploy or an outage has made to be stored together, each gets a ttl up to a tenth
    shorter, so that they do not end together.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        ttl: float,
        negative_ttl: float,
        size: int,
        negative_size: int,
        fresh: float = 1.0,
    ) -> None:
        self.ttl = ttl
        self._negative_ttl = negative_ttl
        self._users = UserIndex()
        self._good: Bounded[Entry] = Bounded(size)
        self._bad: Bounded[Entry] = Bounded(negative_size)
        self._stays = Stays(clock, fresh * ttl)
        # What the hit path needs at hand; the dict stays the same one.
        self._good_of = self._good.entries.get
        self._time, self._monotonic = clock.time, clock.monotonic
        self._forgotten = Generations(_FORGOTTEN)
        self._gone: MutableMapping[bytes, Seen] = LRUCache(_FORGOTTEN)
        self._lock = threading.Lock()
        forks.each_in_child(self)

        self.eras: Eras | None = None

    def now(self) -> float:
        """Return wall time in seconds."""
        return self._time()

    def get(self, key: bytes, max_age: float | None = None) -> Known | None:
        """Return the fact stored under ``key`` if it may still be believed and is not older than asked."""
        entry = self._find(key)
        if entry is None:
            return None
        age = self._age(entry)
        if not age < entry.stay.ttl:  # as all here: a clock that gives no number passes nothing
            self._drop_if_bad(key, entry)
            return None
        if max_age is not None and not age < max_age:
            return None
        entry.used = True
        return Known(entry.info, entry.said + age, age, entry.stay.era)

    def plain(self, key: bytes, scopes: frozenset[str]) -> TokenInfo | None:
        """Return the facts of a valid user token with these scopes, if it is plain that they still hold.

        None tells nothing: then :meth:`get` and the judge do. This is the hit path: no lock, no object of its
        own, two clocks. For how long a fact is plain was worked out when it was stored (``life``).
        """
        # Named first: to call an attribute that is no method is slow.
        find, time, monotonic = self._good_of, self._time, self._monotonic
        entry = find(key)
        if entry is None:
            return None
        stay = entry.stay
        now = time()
        by_monotonic = stay.offset + monotonic()
        if by_monotonic > now:  # noqa: PLR1730 - max() costs as much as a clock
            now = by_monotonic
        info = entry.info
        if not now - entry.said < stay.life or not scopes <= info.grant.scopes:
            return None
        if self.eras is not None and (stay.era is None or stay.era != self.eras.era):
            return None  # the shared store must be asked
        entry.used = True
        return info

    def stale(self, key: bytes, grace: float) -> Known | None:
        """Return a positive fact whose time is over by at most ``grace`` seconds, marked as stale."""
        entry = self._good.entries.get(key)
        if entry is None:
            return None
        age, ttl = self._age(entry), entry.stay.ttl
        if not age < ttl + grace:
            return None
        info = entry.info if age < ttl else replace(entry.info, stale=True)
        return Known(info, entry.said + age, age)

    def peek(self, key: bytes) -> TokenInfo | None:
        """Return the fact under ``key``, however old."""
        entry = self._find(key)
        return None if entry is None else entry.info

    def knows(self, key: bytes) -> bool:
        """Tell whether there is a fact under ``key``, however old."""
        return self._find(key) is not None

    def _find(self, key: bytes) -> Entry | None:
        return self._good.entries.get(key) or self._bad.entries.get(key)

    def _age(self, entry: Entry) -> float:
        """Return the seconds since a fact was stored, by the clock that counts more of them."""
        return max(self._time(), entry.stay.offset + self._monotonic()) - entry.said

    def mark(self) -> int:
        """Return what :meth:`put` and :meth:`is_forgotten` want to have from before a look-up."""
        return self._forgotten.now

    def is_forgotten(self, key: bytes, user_id: str | None, mark: int) -> bool:
        """Tell whether the token, or all of its user, was forgotten since ``mark`` was taken."""
        return self._forgotten.is_past(mark) and self._forgotten.since(mark, key, user_id)

    def put(
        self,
        key: bytes,
        info: TokenInfo,
        *,
        good: bool,
        mark: int | None = None,
        age: float = 0.0,
        since: float | None = None,
        era: int | None = None,
    ) -> Known | None:
        """Store a fact; ``good`` tells which store. Returns it with the time to judge it at.

        ``age`` is the seconds since Graph said it, ``since`` the wall time at which anybody saw the token
        first, ``era`` when the shared store was asked. None, and nothing stored, if the token or its user was
        forgotten since ``mark`` was taken: what Graph said before that no longer counts. Nor while a clock
        gives no finite time: nobody could tell when a fact is over that came then.
        """
        now = self._time()
        if not math.isfinite(now - self._monotonic()):
            return None
        said = now - age if age else now  # the same object, mostly, as `since`
        ttl = self.ttl_of(good=good)
        store, other = (self._good, self._bad) if good else (self._bad, self._good)
        with self._lock:
            if mark is not None and self.is_forgotten(key, info.user_id, mark):
                return None
            if len(store) >= _SPREAD_FROM:
                # The key is a digest: its bytes are evenly spread. In 64 steps, each of which many share.
                ttl *= 1 - _SPREAD * (key[0] >> 2) / 64
            before = store.entries.get(key) or self._pop(other, key)
            gone = None if before is not None else self._gone.pop(key, None)
            first = min(one for one in (now, since, _since(before), _since(gone)) if one is not None)
            stays = self._stays
            stay = stays.of_good(info, said, ttl, now, era) if good else stays.of_bad(ttl, now, era)
            self._put(store, key, Entry(info, said, first, stay), before)
        return Known(info, now, age, era)

    def _put(self, store: Bounded[Entry], key: bytes, entry: Entry, before: Entry | None) -> None:
        if before is not None and before.info.user_id != entry.info.user_id:
            self._users.discard(before.info.user_id, key)
        for dropped, gone in store.put(key, entry):
            self._users.discard(gone.info.user_id, dropped)
        self._users.add(entry.info.user_id, key)

    def _pop(self, store: Bounded[Entry], key: bytes) -> Entry | None:
        found = store.pop(key)
        if found is not None:
            self._users.discard(found.info.user_id, key)
        return found

    def ttl_of(self, *, good: bool) -> float:
        """Return the seconds that a fact is believed, at most."""
        return self.ttl if good else self._negative_ttl

    def since(self, key: bytes) -> float | None:
        """Return the wall time at which a token was first seen, None if nobody remembers it."""
        with self._lock:
            return _since(self._good.entries.get(key) or self._bad.entries.get(key) or self._gone.get(key))

    def _drop_if_bad(self, key: bytes, entry: Entry) -> None:
        """Drop a no whose time is over, unless another thread has stored something new meanwhile."""
        with self._lock:
            if self._bad.entries.get(key) is entry:
                self._pop(self._bad, key)

    def forget(self, key: bytes, info: TokenInfo | None = None) -> bool:
        """Forget what is stored under ``key``, and what look-ups under way will say.

        With ``info`` only if that is what is stored, or nothing is: a newer fact stays (False).
        """
        with self._lock:
            entry = self._good.entries.get(key) or self._bad.entries.get(key)
            if info is not None and not info.stale and entry is not None and entry.info is not info:
                return False
            self._drop(key)
            return True

    def _drop(self, key: bytes) -> None:
        self._forgotten.note(key)
        self._take_out(key)

    def _take_out(self, key: bytes) -> None:
        """Drop a fact, but not since when its token is known: an older event may be heard of later."""
        entry = self._pop(self._good, key) or self._pop(self._bad, key)
        if entry is not None:
            self._gone[key] = Seen(key, entry.info, entry.since)

    def seen_of(self, user_id: str) -> list[Seen]:
        """Return what is known of a user's tokens, and what was until it was forgotten."""
        with self._lock:
            gone = [one for one in self._gone.values() if one.info.user_id == user_id]
            return gone + self._cached_of(user_id)

    def _cached_of(self, user_id: str) -> list[Seen]:
        seen: list[Seen] = []
        for key in self._users.keys_of(user_id):
            entry = self._good.entries.get(key) or self._bad.entries.get(key)
            if entry is not None:
                seen.append(Seen(key, entry.info, entry.since))
        return seen

    def forget_user(self, user_id: str) -> list[Seen]:
        """Forget a user's tokens, and what look-ups under way will say of them; return what was known."""
        with self._lock:
            self._forgotten.note(user_id)
            seen = self._cached_of(user_id)
            for key in self._users.keys_of(user_id):
                self._drop(key)  # each: Graph may say next that it is nobody's
            return seen

    def __len__(self) -> int:
        with self._lock:
            return len(self._good) + len(self._bad)

    def begin_anew(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()


def _since(one: Entry | Seen | None) -> float | None:
    return None if one is None else one.since
