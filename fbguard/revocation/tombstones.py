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

from fbguard.core import forks
from fbguard.core.token import TokenInfo

Why = Literal["session_invalidated", "not_authorized"]
K = TypeVar("K", bytes, str)

LIFETIME: Final = 90 * 86_400.0  # seconds, where nobody knows when the token ends
FOREVER: Final = 100 * 365 * 86_400.0  # seconds, of a token that never does
MOST: Final = 100_000  # of each kind


@dataclass(frozen=True, slots=True)
class Tombstone:
    """``why`` is the reason of the refusals, ``until`` when it may go, in unix seconds as all here.

    ``at`` is the time of the event, by Facebook's clock, and ``heard`` when it was heard of, by ours.
    """

    why: Why
    until: float
    at: float = 0.0
    heard: float = 0.0

    def joined(self, other: Tombstone) -> Tombstone:
        """Return what both say: of two events the later counts, as of when it was heard of first."""
        later = other if other.at > self.at else self
        heard = min(self.heard, other.heard) if self.at == other.at else later.heard
        return Tombstone(self.why, max(self.until, other.until), later.at, heard)

    def covers(self, info: TokenInfo, since: float) -> bool:
        """Tell whether a token of that user is one from before the event.

        By its issue time, which is Facebook's; else by ``since``, when it was first seen here: before the end
        of the second that Facebook names, and before it was heard of. A clock of Facebook's that is ahead
        must not refuse who logs in afterwards.
        """
        return info.issued <= self.at if info.issued else since < self.at + 1 and since <= self.heard


class _Graves(Generic[K]):
    """Tombstones by key, the oldest first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.dropped = 0  # before their time, and not told of yet
        self._stones: OrderedDict[K, Tombstone] = OrderedDict()

    def __len__(self) -> int:
        return len(self._stones)

    def all(self, now: float) -> list[tuple[K, Tombstone]]:
        return [(key, stone) for key, stone in self._stones.items() if now < stone.until]

    def get(self, key: K, now: float) -> Tombstone | None:
        stone = self._stones.get(key)
        return stone if stone is not None and now < stone.until else None

    def put(self, key: K, stone: Tombstone, now: float) -> Tombstone:
        """Store a tombstone, joined with one that is there already, and return it."""
        before = self.get(key, now)
        if before is not None:
            stone = before.joined(stone)
        self._stones[key] = stone
        self._stones.move_to_end(key)
        while len(self._stones) > self._most:
            _, oldest = self._stones.popitem(last=False)
            if now < oldest.until:
                self.dropped += 1
        return stone


class Tombstones:
    """Safe for threads. ``time`` gives unix seconds; ``dropped`` is called when one goes before its time."""

    def __init__(self, time: Callable[[], float], dropped: Callable[[], None], most: int = MOST) -> None:
        self._time = time
        self._lock = threading.Lock()
        self._dropped = dropped
        self._tokens: _Graves[bytes] = _Graves(most)
        self._users: _Graves[str] = _Graves(most)
        forks.each_in_child(self)

    def __len__(self) -> int:
        return len(self._tokens) + len(self._users)

    def bury(self, key: bytes, stone: Tombstone) -> None:
        """Refuse the token under ``key`` from now on."""
        self._put(self._tokens, key, stone)

    def bury_user(self, user_id: str, stone: Tombstone) -> Tombstone:
        """Refuse the user's tokens from before an event; return the tombstone that is there now."""
        return self._put(self._users, user_id, stone)

    def _put(self, graves: _Graves[K], key: K, stone: Tombstone) -> Tombstone:
        with self._lock:
            stone = graves.put(key, stone, self._time())
            dropped, graves.dropped = graves.dropped, 0
        for _ in range(dropped):  # not with the lock held: whoever hears of it may end sessions
            self._dropped()
        return stone

    def heed_user(self, user_id: str | None, stone: Tombstone | None) -> None:
        """Take over a tombstone by user that was found elsewhere, if there is one."""
        if user_id is not None and stone is not None:
            self.bury_user(user_id, stone)

    def all(self) -> tuple[list[tuple[bytes, Tombstone]], list[tuple[str, Tombstone]]]:
        """Return all tombstones, of tokens by key and of users."""
        with self._lock:
            return self._tokens.all(self._time()), self._users.all(self._time())

    def of_token(self, key: bytes) -> Tombstone | None:
        """Return the tombstone of a token, None if it has none."""
        if not len(self._tokens):
            return None
        with self._lock:
            return self._tokens.get(key, self._time())

    def of_facts(self, info: TokenInfo, since: float) -> Tombstone | None:
        """Return the tombstone by user that refuses these facts, None if none does.

        ``since`` is the time (unix seconds) at which the token was first seen here.
        """
        if not len(self._users) or info.user_id is None:
            return None
        with self._lock:
            stone = self._users.get(info.user_id, self._time())
        return stone if stone is not None and stone.covers(info, since) else None

    def begin_anew(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()
