"""Facts, tombstones and news as a space keeps them, and back; what is not ours is counted, and is nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, cast

from fbguard.revocation.tombstones import Tombstone
from fbguard.stores import codec, news
from fbguard.stores.codec import Codec, Fact
from fbguard.stores.news import News
from fbguard.stores.protocol import Found, Grave


class Values:
    """``time`` gives unix seconds."""

    def __init__(self, sealing: Codec, time: Callable[[], float]) -> None:
        self._codec = sealing
        self._time = time
        self.unreadable = 0

    def token_name(self, key: bytes) -> str:
        """Return the name of a token's fact, by its key in this process."""
        return self._codec.token_names(key)[0]

    def token_names(self, key: bytes) -> list[str]:
        """Return the names that a token's fact can have, at this version of Graph's."""
        return self._codec.token_names(key)

    def end_names(self, key: bytes) -> list[str]:
        """Return the names under which a token ends."""
        return self._codec.end_names(key)

    def user_name(self, user_id: str) -> str:
        """Return the name of a user with which facts are kept."""
        return self._codec.user_names(user_id)[0]

    def user_names(self, user_id: str) -> list[str]:
        """Return the names under which a user may have ended."""
        return self._codec.user_names(user_id)

    def fact(self, name: str, sealed: bytes | None) -> Fact | None:
        """Return the fact that is kept under a name."""
        value = self._opened("fact", name, sealed)
        return None if value is None else codec.read(value)

    def stone(self, key: bytes, found: Found) -> Tombstone | None:
        """Return the tombstone of a token, by its key in this process."""
        return self._stone("token stone", self.end_names(key), found.ends)

    def user_stone(self, user_id: str, sealed: Sequence[bytes | None]) -> Tombstone | None:
        """Return the tombstone of a user, by what stands under its names."""
        return self._stone("user stone", self.user_names(user_id), sealed)

    def _stone(self, kind: str, names: Sequence[str], sealed: Sequence[bytes | None]) -> Tombstone | None:
        """Return what all tombstones say together that stand under these names."""
        values = [self._opened(kind, *pair) for pair in zip(names, sealed, strict=True)]
        read = [None if value is None else news.read_stone(value) for value in values]
        stones = [stone for stone in read if stone is not None]
        return reduce(Tombstone.joined, stones) if stones else None

    def news(self, sealed: bytes) -> News | None:
        """Return what somebody said."""
        value = self._opened("news", "", sealed)
        return None if value is None else news.read(value)

    def _opened(self, kind: str, name: str, sealed: bytes | None) -> dict[str, Any] | None:
        value = None if sealed is None else self._codec.open(kind, name, sealed)
        if sealed is not None and value is None:
            self.unreadable += 1
        return value

    def sealed_fact(self, key: bytes, fact: Fact) -> bytes:
        """Return the fact of a token, by its key in this process, as it is kept.

        With it the names under which the token ends: whoever ends all of a user has no token to make them of.
        """
        ends = dict(zip(self._codec.ids, self.end_names(key), strict=True))
        return self._codec.seal("fact", self.token_name(key), codec.written(fact) | {"ends": ends})

    def told(self, said: News) -> list[bytes]:
        """Return news as they are told, by each secret."""
        value = news.written(said)
        return [self._codec.seal("news", "", value, by) for by, _ in enumerate(self._codec.ids)]

    def graves(self, key: bytes, stone: Tombstone) -> list[Grave]:
        """Return the tombstones of a token, by each secret."""
        names = enumerate(self._codec.end_names(key))
        return [self._grave("token stone", name, stone, by) for by, name in names]

    def user_graves(self, user_id: str, stone: Tombstone) -> list[Grave]:
        """Return the tombstones of a user, by each secret."""
        names = enumerate(self._codec.user_names(user_id))
        return [self._grave("user stone", name, stone, by) for by, name in names]

    def graves_of_fact(self, name: str, sealed: bytes, stone: Tombstone) -> list[Grave]:
        """Return the tombstones of a user's token by its fact as it is kept; none if it is not covered."""
        value = self._opened("fact", name, sealed)
        fact = None if value is None else codec.read(value)
        if value is None or fact is None or not stone.covers(fact.info, fact.since):
            return []
        ends = value.get("ends")
        names = cast("dict[object, object]", ends) if isinstance(ends, dict) else {}
        found = [(by, names.get(one)) for by, one in enumerate(self._codec.ids)]
        return [self._grave("token stone", end, stone, by) for by, end in found if isinstance(end, str)]

    def _grave(self, kind: str, name: str, stone: Tombstone, by: int) -> Grave:
        return Grave(name, self._codec.seal(kind, name, news.written_stone(stone), by), self._ttl(stone))

    def _ttl(self, stone: Tombstone) -> float:
        return max(stone.until - self._time(), 1.0)
