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
        """Return what guards of one app, Graph and version share here."""
        return RedisSpace(PerLoop(lambda: Link(self._address)), f"{{{_PREFIX}:{namespace}}}")

    def __repr__(self) -> str:
        return f"<RedisStore {self._address}>"


class RedisSpace:
    """A :class:`fbguard.stores.protocol.Space`; ``tag`` begins all its names, and keeps them in one slot."""

    def __init__(self, links: PerLoop[Link], tag: str) -> None:
        self._links = links
        self._prefix = f"{tag}:"
        self._count = f"{tag}:count"
        self._channel = f"{tag}:news"

    async def _run(self, script: scripts.Script, *args: str | bytes | int) -> Any:
        return await self._links.here().run(script, self._count, self._prefix, *args)

    async def find(self, name: str, *, claim: Claim | None = None) -> Found:
        """Return what is known of a token; if nothing is, claim it, unless somebody else's claim stands."""
        holder, seconds = claim or ("", 1.0)
        fact, stone, user_stone, mark, claimed = await self._run(scripts.FIND, name, holder, _ms(seconds))
        return Found(fact, stone, user_stone, int(mark), _CLAIMED.get(claimed))

    async def keep(self, name: str, fact: bytes, *, user: str | None, ttl: float, mark: int) -> bool:
        """Store a fact, index it, end any claim; False, and nothing stored, if it is late."""
        has_user, whose = (0, "") if user is None else (1, user)
        return bool(await self._run(scripts.KEEP, name, fact, has_user, whose, _ms(ttl), mark))

    async def release(self, name: str, holder: str) -> None:
        """End a claim of this holder's: he has no fact to keep."""
        await self._run(scripts.RELEASE, name, holder)

    async def stone_of_user(self, user: str) -> bytes | None:
        """Return the tombstone of a user."""
        stone: bytes | None = await self._run(scripts.STONE_OF_USER, user)
        return stone

    async def bury(self, name: str, stone: bytes, *, ttl: float, news: bytes) -> None:
        """Put a tombstone on a token for ``ttl`` seconds, drop its fact, and spread the news."""
        await self._run(scripts.BURY, name, stone, _ms(ttl), self._channel, news)

    async def bury_user(
        self, user: str, stone: bytes, *, at: float, ttl: float, news: bytes
    ) -> Sequence[tuple[str, bytes]]:
        """Put a tombstone on a user, drop the user's facts and return them by name, and spread the news."""
        args = (user, stone, repr(float(at)), _ms(ttl), self._channel, news)
        gone = iter(await self._run(scripts.BURY_USER, *args))
        return [(name.decode(errors="replace"), fact) for name, fact in zip(gone, gone, strict=True)]

    async def bury_all(self, graves: Sequence[Grave]) -> None:
        """Put tombstones on tokens and drop their facts; without news."""
        for start in range(0, len(graves), _AT_ONCE):
            some = graves[start : start + _AT_ONCE]
            parts = [part for one in some for part in (one.name, one.stone, _ms(one.ttl))]
            await self._run(scripts.BURY_ALL, *parts)

    async def forget(self, name: str, *, news: bytes) -> None:
        """Drop the fact of a token, and spread the news."""
        await self._run(scripts.FORGET, name, self._channel, news)

    async def forget_user(self, user: str, *, news: bytes) -> None:
        """Drop the facts of a user, and spread the news."""
        await self._run(scripts.FORGET_USER, user, self._channel, news)

    async def origin(self) -> str:
        """Return since when marks are counted: anew, when the server has lost what it had."""
        start: bytes = await self._run(scripts.ORIGIN)
        return start.decode(errors="replace")

    def news(self) -> AsyncGenerator[bytes]:
        """Give ``b""`` once it listens, then the news in order."""
        return self._links.here().news(self._channel, self._count)

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        link = self._links.take_here()
        if link is not None:
            await link.aclose()


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 1)
