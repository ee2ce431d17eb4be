"""Facts, tombstones and news as a space keeps them, and back; what is not ours is counted, and is nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fbguard.revocation.tombstones import Tombstone
from fbguard.stores import codec, news
from fbguard.stores.codec import Codec, Fact
from fbguard.stores.news import News
from fbguard.stores.protocol import Grave


class Values:
    """``time`` gives unix seconds."""

    def __init__(self, sealing: Codec, time: Callable[[], float]) -> None:
        self._codec = sealing
        self._time = time
        self.unreadable = 0

    def token_name(self, key: bytes) -> str:
        """Return the name of a token, by its key in this process."""
        return self._codec.token_name(key)

    def user_name(self, user_id: str) -> str:
        """Return the name of a user."""
        return self._codec.user_name(user_id)

    def fact(self, name: str, sealed: bytes | None) -> Fact | None:
        """Return the fact that is kept under a name."""
        value = self._opened("fact", name, sealed)
        return None if value is None else codec.read(value)

    def stone(self, name: str, sealed: bytes | None) -> Tombstone | None:
        """Return the tombstone of a token, by its name."""
        value = self._opened("token stone", name, sealed)
        return None if value is None else news.read_stone(value)

    def user_stone(self, user_id: str, sealed: bytes | None) -> Tombstone | None:
        """Return the tombstone of a user."""
        value = self._opened("user stone", self._codec.user_name(user_id), sealed)
        return None if value is None else news.read_stone(value)

    def news(self, sealed: bytes) -> News | None:
        """Return what somebody said."""
        value = self._opened("news", "", sealed)
        return None if value is None else news.read(value)

    def _opened(self, kind: str, name: str, sealed: bytes | None) -> dict[str, Any] | None:
        value = None if sealed is None else self._codec.open(kind, name, sealed)
        if sealed is not None and value is None:
            self.unreadable += 1
        return value

    def sealed_fact(self, name: str, fact: Fact) -> bytes:
        """Return a fact as it is kept under a name."""
        return self._codec.seal("fact", name, codec.written(fact))

    def sealed_news(self, said: News) -> bytes:
        """Return news as they are told."""
        return self._codec.seal("news", "", news.written(said))

    def grave(self, name: str, stone: Tombstone) -> Grave:
        """Return the tombstone of a token, by its name, as it is kept."""
        return Grave(name, self._codec.seal("token stone", name, news.written_stone(stone)), self._ttl(stone))

    def user_grave(self, user_id: str, stone: Tombstone) -> Grave:
        """Return the tombstone of a user as it is kept."""
        name = self._codec.user_name(user_id)
        return Grave(name, self._codec.seal("user stone", name, news.written_stone(stone)), self._ttl(stone))

    def _ttl(self, stone: Tombstone) -> float:
        return max(stone.until - self._time(), 1.0)
