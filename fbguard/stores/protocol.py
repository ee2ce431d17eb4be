"""What a shared store is: facts, tombstones, an index of users, and news of sessions that end.

Names are opaque text and values opaque bytes, made and authenticated by :mod:`fbguard.stores.codec`: a store
needs no knowledge of either. Times are seconds. Every method may raise
:class:`fbguard.core.errors.StoreUnavailable`, and nothing else that is not a fault of the program.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple, Protocol


class Claim(NamedTuple):
    """That ``holder`` (opaque, of this one look-up) is about to ask Graph, for at most ``seconds``."""

    holder: str
    seconds: float


class Found(NamedTuple):
    """What a store knows under a name; ``mark`` is what :meth:`Space.keep` wants to have.

    ``fact`` and ``stone`` are None where there is none; ``user_stone`` is the tombstone of the user that the
    fact was kept with. ``is_claimed`` tells whether the claim that was made is whoever's asked; None where
    none was made, or there was something to find. ``ends`` are the tombstones under the token's other names,
    in their order.
    """

    fact: bytes | None
    stone: bytes | None
    user_stone: bytes | None
    mark: int
    is_claimed: bool | None = None
    ends: Sequence[bytes | None] = ()


class Grave(NamedTuple):
    """A token's tombstone, by name, for ``ttl`` seconds."""

    name: str
    stone: bytes
    ttl: float


class Space(Protocol):
    """Shared by all guards of one app. Its effects are there for all of them when a method returns.

    A *mark* is a count that grows with every session that ends and everything that is forgotten, in the
    space. Whoever looks a token up takes it before he asks Graph, and stores the answer only if neither
    the token nor its user was touched since: so an answer from before a log-out is never kept.

    A token has one name for its fact, and may have others (``ends``) under which it can have ended.
    """

    async def find(self, name: str, *, ends: Sequence[str] = (), claim: Claim | None = None) -> Found:
        """Return what is known of a token; if nothing is, claim it, unless somebody else's claim stands."""
        ...

    async def keep(
        self, name: str, fact: bytes, *, user: str | None, ttl: float, mark: int, ends: Sequence[str] = ()
    ) -> bool:
        """Store a fact for ``ttl`` seconds and index it; False, and nothing stored, if it comes too late.

        Any claim ends. To a space that lost what it had since ``mark`` was taken, every answer comes late.
        """
        ...

    async def release(self, name: str, holder: str) -> None:
        """End a claim of this holder's: he has no fact to keep."""
        ...

    async def stone_of_user(self, user: str) -> bytes | None:
        """Return the tombstone of a user."""
        ...

    async def bury(
        self, name: str, stone: bytes, *, ttl: float, news: bytes, facts: Sequence[str] = ()
    ) -> int | None:
        """Put a tombstone on a token for ``ttl`` seconds, drop its fact, and spread the news.

        Where one stood that would last longer, so does this one. ``facts`` are other names under which the
        token may have a fact. Return how many listeners heard of it, None if nobody can tell.
        """
        ...

    async def bury_user(
        self, user: str, stone: bytes, *, at: float, ttl: float, news: bytes
    ) -> Sequence[tuple[str, bytes]]:
        """Put a tombstone on a user, drop the user's facts and return them by name, and spread the news.

        ``at`` is the time of the event: a tombstone of a later one stays.
        """
        ...

    async def bury_all(self, graves: Sequence[Grave]) -> None:
        """Put tombstones on tokens and drop their facts; without news."""
        ...

    async def forget(self, name: str, *, news: bytes) -> None:
        """Drop the fact of a token, and spread the news."""
        ...

    async def forget_user(self, user: str, *, news: bytes) -> None:
        """Drop the facts of a user, and spread the news."""
        ...

    async def origin(self) -> str:
        """Return a text that is another one once the space has lost what it had."""
        ...

    def news(self) -> AsyncGenerator[bytes]:
        """Give the news in order, one's own too; StoreUnavailable when the link is lost.

        First ``b""``, once it listens: from then on nothing is missed without saying so. A link over which
        nothing would come any more is lost within two seconds, too.
        """
        ...

    async def aclose(self) -> None:
        """Close what belongs to the running loop."""
        ...


class Store(Protocol):
    """What ``Guard(store=)`` takes: somewhere with a space for each app and Graph."""

    def space(self, namespace: str) -> Space:
        """Return the space of that name (printable ASCII without white space); asks nobody."""
        ...
