"""Sessions that were ended, by token and by user. Bounded; no loop, no I/O.

A tombstone by token refuses that token. One by user refuses tokens issued at or before the event; of
tokens whose issue time nobody knows (every short-lived one) those that were known here at the event get a
tombstone of their own, and what appears later is a new login until Graph says otherwise.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar
from weakref import WeakSet

from fbguard.core import forks
from fbguard.core.token import TokenInfo

Why = Literal["session_invalidated", "not_authorized"]
K = TypeVar("K", bytes, str)

LIFETIME: Final = 90 * 86_400.0  # seconds; no token that Facebook issues today lives longer
MOST: Final = 100_000  # of each kind

_all: WeakSet[Tombstones] = WeakSet()


@dataclass(frozen=True, slots=True)
class Tombstone:
    """``why`` is the reason of the refusals, ``until`` and ``at`` (of the event) are unix seconds."""

    why: Why
    until: float
    at: float = 0.0


class _Graves(Generic[K]):
    """Tombstones by key, the oldest first."""

    def __init__(self, most: int, dropped: Callable[[], None]) -> None:
        self._most = most
        self._dropped = dropped
        self._stones: OrderedDict[K, Tombstone] = OrderedDict()

    def __len__(self) -> int:
        return len(self._stones)

    def get(self, key: K, now: float) -> Tombstone | None:
        stone = self._stones.get(key)
        return stone if stone is not None and now < stone.until else None

    def put(self, key: K, stone: Tombstone, now: float) -> None:
        before = self.get(key, now)
        if before is not None:  # whichever refuses more, for longer
            stone = Tombstone(before.why, max(before.until, stone.until), max(before.at, stone.at))
        self._stones[key] = stone
        self._stones.move_to_end(key)
        while len(self._stones) > self._most:
            _, oldest = self._stones.popitem(last=False)
            if now < oldest.until:
                self._dropped()


class Tombstones:
    """Safe for threads. ``time`` gives unix seconds; ``dropped`` is called when one goes before its time."""

    def __init__(self, time: Callable[[], float], dropped: Callable[[], None], most: int = MOST) -> None:
        self._time = time
        self._lock = threading.Lock()
        self._tokens: _Graves[bytes] = _Graves(most, dropped)
        self._users: _Graves[str] = _Graves(most, dropped)
        _all.add(self)

    def __len__(self) -> int:
        return len(self._tokens) + len(self._users)

    def bury(self, key: bytes, stone: Tombstone) -> None:
        """Refuse the token under ``key`` from now on."""
        with self._lock:
            self._tokens.put(key, stone, self._time())

    def bury_user(self, user_id: str, stone: Tombstone) -> None:
        """Refuse the user's tokens that were issued up to ``stone.at``."""
        with self._lock:
            self._users.put(user_id, stone, self._time())

    def of_token(self, key: bytes) -> Tombstone | None:
        """Return the tombstone of a token, None if it has none."""
        if not len(self._tokens):
            return None
        with self._lock:
            return self._tokens.get(key, self._time())

    def of_facts(self, info: TokenInfo) -> Tombstone | None:
        """Return the tombstone by user that refuses these facts, None if none does."""
        if not len(self._users) or info.user_id is None:
            return None
        with self._lock:
            stone = self._users.get(info.user_id, self._time())
        return stone if stone is not None and 0 < info.issued <= stone.at else None

    def renew_lock(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()


def _renew_locks() -> None:
    for one in _all:
        one.renew_lock()


forks.in_child(_renew_locks)
