"""What a guard asks its shared store, and what the store's sealed answers say."""

from __future__ import annotations

from typing import NamedTuple

from fbguard.revocation.tombstones import Tombstone
from fbguard.stores.codec import Fact
from fbguard.stores.protocol import Claim, Space
from fbguard.stores.values import Values


class Said(NamedTuple):
    """What the store says of a token, read."""

    fact: Fact | None
    stone: Tombstone | None
    user_stone: Tombstone | None
    mark: int
    is_claimed: bool | None


class Questions:
    """Asked of one space, each raises StoreUnavailable."""

    def __init__(self, space: Space, values: Values) -> None:
        self._space = space
        self._values = values

    async def of_token(self, key: bytes, claim: Claim | None = None) -> Said:
        """Return what is known of a token, and claim it if nothing is."""
        name, ends = self._values.token_name(key), self._values.end_names(key)
        found = await self._space.find(name, ends=ends, claim=claim)
        stone = self._values.stone(key, found)
        fact = None if stone is not None else self._values.fact(name, found.fact)
        user_stone = None
        if fact is not None and fact.info.user_id is not None:
            # It comes with the fact, but for what workers have ended that know another secret only.
            others = self._values.user_names(fact.info.user_id)[1:]
            sealed = [found.user_stone, *[await self._space.stone_of_user(one) for one in others]]
            user_stone = self._values.user_stone(fact.info.user_id, sealed)
        return Said(fact, stone, user_stone, found.mark, found.is_claimed)

    async def of_user(self, user_id: str) -> Tombstone | None:
        """Return the tombstone of a user."""
        sealed = [await self._space.stone_of_user(name) for name in self._values.user_names(user_id)]
        return self._values.user_stone(user_id, sealed)
