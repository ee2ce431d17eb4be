"""A store on Redis or Valkey: what the workers of many machines share. Needs ``fbguard[redis]``.

Every method is one script, so one round trip, and effects are whole: a tombstone is written and announced
together. News go over publish/subscribe: they need no key, and a server cuts off a listener that cannot
follow. What was missed is not replayed: whoever missed it asks once more about each token
(:mod:`fbguard.stores.listening`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

try:
    from fbguard.stores.redis.link import Link
except ModuleNotFoundError as _error:
    raise ImportError("RedisStore needs redis-py: pip install 'fbguard[redis]'") from _error

from fbguard.core.errors import StoreUnavailable
from fbguard.core.loops import PerLoop
from fbguard.core.secret import Secret
from fbguard.stores.protocol import Claim, Found, Grave
from fbguard.stores.redis import scripts
from fbguard.stores.redis.address import parsed

_PREFIX: Final = "fbguard"
_AT_ONCE: Final = 1_000  # tombstones of one script; nobody else is served meanwhile
_CLAIMED: Final[Mapping[int, bool]] = {1: True, 0: False}


class RedisStore:
    """``url`` is of a server, of sentinels or of a cluster: see :func:`fbguard.stores.redis.address.parsed`.

    Connections are made at first use, per event loop and process. Raises TypeError or ValueError for a URL
    that is none, which shows nothing of it.
    """

    def __init__(self, url: str | Secret) -> None:
        given = url if isinstance(url, Secret) else Secret(url)
        del url
        if not isinstance(given.reveal(), str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("store: the URL must be a str")
        self._address = parsed(given)

    def space(self, namespace: str) -> RedisSpace:
        """Return what guards of one app and Graph share here."""
        tag = f"{{{_PREFIX}:{namespace}}}"
        return RedisSpace(PerLoop(lambda: Link(self._address)), tag, f"{tag}:news:{self._address.db}")

    def __repr__(self) -> str:
        # It is shown in the traceback of its own construction, too.
        return f"<RedisStore {self._address}>" if hasattr(self, "_address") else "<RedisStore, not built>"


class RedisSpace:
    """A :class:`fbguard.stores.protocol.Space`; ``tag`` begins all its names, and keeps them in one slot.

    The ``channel`` names the database, too: what is published in one is heard in all.
    """

    def __init__(self, links: PerLoop[Link], tag: str, channel: str) -> None:
        self._links = links
        self._prefix = f"{tag}:"
        self._count = f"{tag}:count"
        self._channel = channel

    async def _run(self, script: scripts.Script, *args: str | bytes | int) -> Any:
        return await self._links.here().run(script, self._count, self._prefix, *args)

    async def _do(self, script: scripts.Script, *args: str | bytes | int) -> None:
        """Run a script that says 1 when it is done; anything else was not said by it."""
        if await self._run(script, *args) != 1:
            raise StoreUnavailable

    async def find(self, name: str, *, ends: Sequence[str] = (), claim: Claim | None = None) -> Found:
        """Return what is known of a token; if nothing is, claim it, unless somebody else's claim stands."""
        holder, seconds = claim or ("", 1.0)
        match await self._run(scripts.FIND, name, holder, _ms(seconds), *ends):
            case [fact, stone, user_stone, bytes(mark), int(claimed), *stones] if mark.isdigit() and len(
                stones
            ) == len(ends):
                known = (_value(fact), _value(stone), _value(user_stone))
                return Found(*known, int(mark), _CLAIMED.get(claimed), tuple(map(_value, stones)))
            case _:
                raise StoreUnavailable

    async def keep(
        self, name: str, fact: bytes, *, user: str | None, ttl: float, mark: int, ends: Sequence[str] = ()
    ) -> bool:
        """Store a fact, index it, end any claim; False, and nothing stored, if it is late."""
        has_user, whose = (0, "") if user is None else (1, user)
        return bool(await self._run(scripts.KEEP, name, fact, has_user, whose, _ms(ttl), mark, *ends))

    async def release(self, name: str, holder: str) -> None:
        """End a claim of this holder's: he has no fact to keep."""
        await self._do(scripts.RELEASE, name, holder)

    async def stone_of_user(self, user: str) -> bytes | None:
        """Return the tombstone of a user."""
        return _value(await self._run(scripts.STONE_OF_USER, user))

    async def bury(
        self, name: str, stone: bytes, *, ttl: float, news: bytes, facts: Sequence[str] = ()
    ) -> int | None:
        """Put a tombstone on a token for ``ttl`` seconds, drop its fact, and spread the news."""
        match await self._run(scripts.BURY, name, stone, _ms(ttl), self._channel, news, *facts):
            case [1, int(heard)]:
                return heard
            case _:
                raise StoreUnavailable

    async def bury_user(
        self, user: str, stone: bytes, *, at: float, ttl: float, news: bytes
    ) -> Sequence[tuple[str, bytes]]:
        """Put a tombstone on a user, drop the user's facts and return them by name, and spread the news."""
        args = (user, stone, repr(float(at)), _ms(ttl), self._channel, news)
        match await self._run(scripts.BURY_USER, *args):
            case [*gone] if len(gone) % 2 == 0:
                found = [_sure(one) for one in gone]
                names = (name.decode(errors="replace") for name in found[::2])
                return list(zip(names, found[1::2], strict=True))
            case _:
                raise StoreUnavailable

    async def bury_all(self, graves: Sequence[Grave]) -> None:
        """Put tombstones on tokens and drop their facts; without news."""
        for start in range(0, len(graves), _AT_ONCE):
            some = graves[start : start + _AT_ONCE]
            parts = [part for one in some for part in (one.name, one.stone, _ms(one.ttl))]
            await self._do(scripts.BURY_ALL, *parts)

    async def forget(self, name: str, *, news: bytes) -> None:
        """Drop the fact of a token, and spread the news."""
        await self._do(scripts.FORGET, name, self._channel, news)

    async def forget_user(self, user: str, *, news: bytes) -> None:
        """Drop the facts of a user, and spread the news."""
        await self._do(scripts.FORGET_USER, user, self._channel, news)

    async def origin(self) -> str:
        """Return since when marks are counted: anew, when the server has lost what it had."""
        return _sure(await self._run(scripts.ORIGIN)).decode(errors="replace")

    def news(self) -> AsyncGenerator[bytes]:
        """Give ``b""`` once it listens, then the news in order."""
        return self._links.here().news(self._channel, self._count)

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        link = self._links.take_here()
        if link is not None:
            await link.aclose()


def _sure(said: object) -> bytes:
    """Return what a script says; what is no text was not said by it."""
    if not isinstance(said, bytes):
        raise StoreUnavailable
    return said


def _value(said: object) -> bytes | None:
    return None if said is None else _sure(said)


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 1)
