"""A guard's side of a shared store: what it asks there, and what it hears from the other workers."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future
from typing import Any, Final, Literal, NamedTuple, TypeVar, cast
from weakref import WeakSet

from cachetools import LRUCache

from fbguard.core import background, forks
from fbguard.core.clock import Clock
from fbguard.core.errors import StoreUnavailable
from fbguard.revocation.tombstones import Tombstone
from fbguard.stores.codec import Codec, Fact, read, written
from fbguard.stores.protocol import Store

logger = logging.getLogger("fbguard")

_AGAIN: Final = 1.0  # seconds until a lost link is tried again
_READ: Final = 0.25  # seconds that a look-up waits for the store
_WRITE: Final = 1.0  # seconds that whoever ends a session does
_DISTRUSTED: Final = 10_000  # tokens whose facts in the store are known to be old
_WHYS: Final = ("session_invalidated", "not_authorized")

_all: WeakSet[SharedStore] = WeakSet()

T = TypeVar("T")
What = Literal["token", "user", "forget", "forget_user"]


class News(NamedTuple):
    """What another worker did: ``name`` is a token's key in hex, or a user id."""

    what: What
    name: str
    stone: Tombstone | None


class Look(NamedTuple):
    """What the other workers know about a token; ``mark`` is None when the store is away."""

    fact: Fact | None
    stone: Tombstone | None
    user_stone: Tombstone | None
    mark: int | None


_AWAY: Final = Look(None, None, None, None)


class SharedStore:
    """``hear`` is told what others do, ``lost`` that something may have been missed. Safe for threads.

    A store that is away is no reason to refuse anybody: tokens are looked up at Graph then. Who ends a
    session hears of it by StoreUnavailable.
    """

    def __init__(
        self,
        store: Store,
        codec: Codec,
        clock: Clock,
        *,
        hear: Callable[[News], None],
        lost: Callable[[], None],
    ) -> None:
        self._store = store
        self._codec = codec
        self._clock = clock
        self._hear = hear
        self._lost = lost
        self._distrusted: MutableMapping[bytes, float] = LRUCache(_DISTRUSTED)
        self._lock = threading.Lock()
        self._listening: tuple[int, Future[None]] | None = None
        _all.add(self)

    # -- facts -------------------------------------------------------------------------------------------

    async def find(self, key: bytes) -> Look:
        """Return what is known of a token, if the store can be asked."""
        self._listen()
        name = self._codec.token_name(key)
        try:
            found = await _within(_READ, self._store.find(name))
            fact = self._fact(key, name, found.fact)
            user_stone = None if fact is None else await self._stone_of_user(fact.info.user_id)
        except StoreUnavailable:
            logger.debug("the store is away")
            return _AWAY
        return Look(fact, self._stone("token stone", name, found.stone), user_stone, found.mark)

    def _fact(self, key: bytes, name: str, sealed: bytes | None) -> Fact | None:
        value = None if sealed is None else self._codec.open("fact", name, sealed)
        fact = None if value is None else read(value)
        with self._lock:
            distrusted = self._distrusted.get(key, -math.inf)
        return fact if fact is not None and fact.said > distrusted else None

    async def stone_of_user(self, user_id: str | None) -> Tombstone | None:
        """Return the tombstone of a user, if the store can be asked."""
        try:
            return await self._stone_of_user(user_id)
        except StoreUnavailable:
            return None

    async def _stone_of_user(self, user_id: str | None) -> Tombstone | None:
        if user_id is None:
            return None
        name = self._codec.user_name(user_id)
        return self._stone("user stone", name, await _within(_READ, self._store.stone_of_user(name)))

    def _stone(self, kind: str, name: str, sealed: bytes | None) -> Tombstone | None:
        value = None if sealed is None else self._codec.open(kind, name, sealed)
        return None if value is None else _read_stone(value)

    async def keep(self, key: bytes, fact: Fact, *, ttl: float, mark: int | None) -> bool:
        """Store a fact; False if the session was ended, or the user forgotten, since ``mark`` was taken."""
        if mark is None:
            return True
        name, user = self._codec.token_name(key), fact.info.user_id
        try:
            return await _within(
                _READ,
                self._store.keep(
                    name,
                    self._codec.seal("fact", name, written(fact)),
                    user=None if user is None else self._codec.user_name(user),
                    ttl=ttl,
                    mark=mark,
                ),
            )
        except StoreUnavailable:
            return True

    # -- sessions that end -------------------------------------------------------------------------------

    async def bury(self, key: bytes, stone: Tombstone) -> None:
        """Put a tombstone on a token, everywhere."""
        await _within(_WRITE, self._bury(key, stone))

    async def _bury(self, key: bytes, stone: Tombstone) -> None:
        name = self._codec.token_name(key)
        await self._store.bury(
            name,
            self._codec.seal("token stone", name, _written_stone(stone)),
            ttl=max(stone.until - self._clock.time(), 1.0),
            news=self._news("token", key.hex(), stone),
        )

    async def bury_user(self, user_id: str, stone: Tombstone) -> None:
        """Put a tombstone on a user, everywhere, and on tokens that were seen before by anybody."""
        await _within(_WRITE, self._bury_user(user_id, stone))

    async def _bury_user(self, user_id: str, stone: Tombstone) -> None:
        name = self._codec.user_name(user_id)
        gone = await self._store.bury_user(
            name,
            self._codec.seal("user stone", name, _written_stone(stone)),
            at=stone.at,
            ttl=max(stone.until - self._clock.time(), 1.0),
            news=self._news("user", user_id, stone),
        )
        for token_name, sealed in gone:
            value = self._codec.open("fact", token_name, sealed)
            fact = None if value is None else read(value)
            if fact is not None and stone.covers(fact.info, fact.since):
                await self._store.bury(
                    token_name,
                    self._codec.seal("token stone", token_name, _written_stone(stone)),
                    ttl=max(stone.until - self._clock.time(), 1.0),
                    news=b"",
                )

    async def forget_user(self, user_id: str) -> None:
        """Have every token of a user looked up anew, everywhere."""
        news = self._news("forget_user", user_id, None)
        await _within(_WRITE, self._store.forget_user(self._codec.user_name(user_id), news=news))

    def forget_soon(self, key: bytes) -> None:
        """Have a token looked up anew, everywhere; here from now on, elsewhere soon."""
        with self._lock:
            self._distrusted[key] = self._clock.time()
        background.submit(self._forget(key))

    async def _forget(self, key: bytes) -> None:
        try:
            await self._store.forget(self._codec.token_name(key), news=self._news("forget", key.hex(), None))
        except StoreUnavailable:
            logger.debug("the store is away: other workers keep what they know")

    def _news(self, what: What, name: str, stone: Tombstone | None) -> bytes:
        value = {"what": what, "name": name, "stone": None if stone is None else _written_stone(stone)}
        return self._codec.seal("news", "", value)

    # -- news of others ----------------------------------------------------------------------------------

    def _listen(self) -> None:
        """See that this process hears the news; on the background loop, from its first look-up on."""
        with self._lock:
            if self._listening is None or self._listening[0] != os.getpid():
                self._listening = (os.getpid(), background.submit(self._follow()))

    async def _follow(self) -> None:
        while True:
            try:
                async for sealed in self._store.news():
                    if sealed:
                        self._heard(sealed)
                    else:  # from here on; what was stored before may have ended unheard
                        self._lost()
            except StoreUnavailable:
                logger.warning("the link to the store is lost: what it said meanwhile may be missed")
            self._lost()
            await asyncio.sleep(_AGAIN)

    def _heard(self, sealed: bytes) -> None:
        value = self._codec.open("news", "", sealed)
        if value is None:
            return
        what, name, stone = value.get("what"), value.get("name"), value.get("stone")
        if what not in {"token", "user", "forget", "forget_user"} or not isinstance(name, str):
            return
        self._hear(
            News(what, name, _read_stone(cast("dict[str, Any]", stone)) if isinstance(stone, dict) else None)
        )

    def renew_lock(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()

    async def aclose_here(self) -> None:
        """Close what the store has on the running loop."""
        await self._store.aclose()

    def shut(self) -> None:
        """Stop listening."""
        with self._lock:
            listening, self._listening = self._listening, None
        if listening is not None and listening[0] == os.getpid():
            listening[1].cancel()


async def _within(seconds: float, work: Awaitable[T]) -> T:
    """Await the store for so long; one that hangs is away."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise StoreUnavailable from None


def _written_stone(stone: Tombstone) -> dict[str, object]:
    return {"why": stone.why, "until": stone.until, "at": stone.at, "heard": stone.heard}


def _read_stone(value: dict[str, Any]) -> Tombstone | None:
    why, times = value.get("why"), [value.get(name) for name in ("until", "at", "heard")]
    numbers = [one for one in times if isinstance(one, int | float)]
    return Tombstone(why, *numbers) if why in _WHYS and len(numbers) == len(times) else None


def _renew_locks() -> None:
    for one in _all:
        one.renew_lock()


forks.in_child(_renew_locks)
