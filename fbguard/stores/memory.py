"""A store in this process: what several guards share in tests, and the measure of the other stores."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from time import time as wall_time
from typing import Final, Generic, TypeVar

from fbguard.core import forks
from fbguard.core.generations import Generations
from fbguard.stores.protocol import Claim, Found, Grave

V = TypeVar("V")


_FORGOTTEN: Final = 100_000  # names and users whose last change is remembered


class MemoryStore:
    """At most ``size`` facts and as many tombstones of each kind; ``time`` gives unix seconds.

    One space for all: names and news of several apps are different anyway.
    """

    def __init__(self, *, size: int = 100_000, time: Callable[[], float] = wall_time) -> None:
        self._lock = threading.Lock()
        self._facts: _Expiring[tuple[bytes, str | None]] = _Expiring(size, time)
        self._stones: _Expiring[bytes] = _Expiring(size, time)
        self._user_stones: _Expiring[tuple[bytes, float]] = _Expiring(size, time)
        self._claims: _Expiring[str] = _Expiring(size, time)
        self._names_of: dict[str, set[str]] = {}
        self._changes = Generations(_FORGOTTEN)
        self._listeners: set[_Listener] = set()
        forks.each_in_child(self)

    def begin_anew(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()

    def space(self, namespace: str) -> MemoryStore:
        """Return the one space."""
        return self

    async def find(self, name: str, *, ends: Sequence[str] = (), claim: Claim | None = None) -> Found:
        """Return what is known of a token; if nothing is, claim it, unless somebody else's claim stands."""
        with self._lock:
            fact, stone, mark = self._facts.get(name), self._stones.get(name), self._changes.now
            stones = tuple(self._stones.get(one) for one in ends)
            if fact is not None:
                user_stone = None if fact[1] is None else self._user_stones.get(fact[1])
                return Found(
                    fact[0], stone, None if user_stone is None else user_stone[0], mark, None, stones
                )
            if claim is None or any(one is not None for one in (stone, *stones)):
                return Found(None, stone, None, mark, None, stones)
            holder = self._claims.get(name)
            if holder is None:
                self._claims.put(name, claim.holder, claim.seconds)
            return Found(None, None, None, mark, holder in {None, claim.holder}, stones)

    async def keep(
        self, name: str, fact: bytes, *, user: str | None, ttl: float, mark: int, ends: Sequence[str] = ()
    ) -> bool:
        """Store a fact, index it, end any claim; False, and nothing stored, if it is late."""
        with self._lock:
            self._claims.pop(name)
            touched = [*map(_token, (name, *ends)), None if user is None else _user(user)]
            if self._changes.since(mark, *touched):
                return False
            self._drop(name)
            for dropped, (_, owner) in self._facts.put(name, (fact, user), ttl):
                self._unindex(dropped, owner)
            if user is not None:
                self._names_of.setdefault(user, set()).add(name)
            return True

    async def release(self, name: str, holder: str) -> None:
        """End a claim of this holder's: he has no fact to keep."""
        with self._lock:
            if self._claims.get(name) == holder:
                self._claims.pop(name)

    async def stone_of_user(self, user: str) -> bytes | None:
        """Return the tombstone of a user."""
        with self._lock:
            found = self._user_stones.get(user)
            return None if found is None else found[0]

    async def bury(
        self, name: str, stone: bytes, *, ttl: float, news: bytes, facts: Sequence[str] = ()
    ) -> int | None:
        """Put a tombstone on a token for ``ttl`` seconds, drop its fact, and spread the news."""
        with self._lock:
            self._bury(name, stone, ttl)
            for one in facts:
                self._drop(one)
            self._spread(news)
            return len(self._listeners)

    def _bury(self, name: str, stone: bytes, ttl: float) -> None:
        self._stones.put(name, stone, max(ttl, self._stones.left(name)))
        self._changes.note(_token(name))
        self._drop(name)

    async def bury_user(
        self, user: str, stone: bytes, *, at: float, ttl: float, news: bytes
    ) -> Sequence[tuple[str, bytes]]:
        """Put a tombstone on a user, drop the user's facts and return them by name, and spread the news."""
        with self._lock:
            before = self._user_stones.get(user)
            if before is None or before[1] <= at:
                self._user_stones.put(user, (stone, at), ttl)
            dropped = self._drop_user(user)
            self._spread(news)
            return dropped

    async def bury_all(self, graves: Sequence[Grave]) -> None:
        """Put tombstones on tokens and drop their facts; without news."""
        with self._lock:
            for grave in graves:
                self._bury(*grave)

    async def forget(self, name: str, *, news: bytes) -> None:
        """Drop the fact of a token, and spread the news."""
        with self._lock:
            self._changes.note(_token(name))
            self._drop(name)
            self._spread(news)

    async def forget_user(self, user: str, *, news: bytes) -> None:
        """Drop the facts of a user, and spread the news."""
        with self._lock:
            self._drop_user(user)
            self._spread(news)

    async def origin(self) -> str:
        """Return always the same: memory is lost with all who know it."""
        return ""

    async def news(self) -> AsyncGenerator[bytes]:
        """Give ``b""`` once it listens, then the news in order."""
        listener = _Listener(asyncio.get_running_loop())
        with self._lock:
            self._listeners.add(listener)
        try:
            yield b""
            while True:
                yield await listener.queue.get()
        finally:
            with self._lock:
                self._listeners.discard(listener)

    async def aclose(self) -> None:
        """Nothing here belongs to a loop."""

    def _spread(self, news: bytes) -> None:
        for listener in list(self._listeners):
            if not listener.hear(news):
                self._listeners.discard(listener)

    def _drop(self, name: str) -> bytes | None:
        found = self._facts.pop(name)
        if found is None:
            return None
        self._unindex(name, found[1])
        return found[0]

    def _drop_user(self, user: str) -> list[tuple[str, bytes]]:
        self._changes.note(_user(user))
        dropped = [(name, self._drop(name)) for name in list(self._names_of.get(user, ()))]
        return [(name, fact) for name, fact in dropped if fact is not None]

    def _unindex(self, name: str, user: str | None) -> None:
        names = self._names_of.get(user or "")
        if user is not None and names is not None:
            names.discard(name)
            if not names:
                del self._names_of[user]


def _token(name: str) -> str:
    return f"token {name}"


def _user(user: str) -> str:
    return f"user {user}"


class _Listener:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    def hear(self, news: bytes) -> bool:
        """Queue news on the listener's own loop; False if that is closed."""
        try:
            self._loop.call_soon_threadsafe(self.queue.put_nowait, news)
        except RuntimeError:
            return False
        return True


class _Expiring(Generic[V]):
    """Values for some seconds each; the oldest go first when there are too many."""

    def __init__(self, size: int, time: Callable[[], float]) -> None:
        self._size = size
        self._time = time
        self._entries: OrderedDict[str, tuple[float, V]] = OrderedDict()

    def get(self, name: str) -> V | None:
        entry = self._entries.get(name)
        return entry[1] if entry is not None and self._time() < entry[0] else None

    def put(self, name: str, value: V, ttl: float) -> list[tuple[str, V]]:
        """Store a value; return what had to go."""
        self._entries[name] = (self._time() + ttl, value)
        self._entries.move_to_end(name)
        gone: list[tuple[str, V]] = []
        while len(self._entries) > self._size:
            oldest, (_, dropped) = self._entries.popitem(last=False)
            gone.append((oldest, dropped))
        return gone

    def left(self, name: str) -> float:
        """Return the seconds that a value still stays."""
        return 0.0 if (entry := self._entries.get(name)) is None else entry[0] - self._time()

    def pop(self, name: str) -> V | None:
        entry = self._entries.pop(name, None)
        return None if entry is None else entry[1]
