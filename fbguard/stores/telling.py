"""Telling the other workers what ended here, by a store that may be away or may have lost what it had."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from fbguard import events
from fbguard.core import forks
from fbguard.core.errors import StoreUnavailable
from fbguard.core.token import TokenInfo
from fbguard.events import Tell
from fbguard.revocation.tombstones import Tombstone
from fbguard.stores.access import FAILURES, Access
from fbguard.stores.news import News
from fbguard.stores.protocol import Grave, Space
from fbguard.stores.values import Values

_UNSENT: Final = 10_000  # news that wait for the store; the oldest go first
_AGAIN: Final = 60.0  # seconds for which news are told again: a replica that takes over may lack the last
_NOBODY: Final = "-"  # the name of no token
_BURIED_AT_ONCE: Final = 1_000

Stones = tuple[Sequence[tuple[bytes, Tombstone]], Sequence[tuple[str, Tombstone]]]  # by key, by user id
Watched = tuple[bytes, TokenInfo, float]  # the key of open connections' token, and since when (unix seconds)


class Here(Protocol):
    """What a store must know of its own process."""

    def hear(self, news: News) -> None:
        """Do here what was done elsewhere."""
        ...

    def stones(self) -> Stones:
        """Return the tombstones that are remembered, of tokens by key and of users."""
        ...

    def watched(self) -> Sequence[Watched]:
        """Return the tokens of open connections."""
        ...


class Telling:
    """What a guard writes into a space when sessions end; ``monotonic`` gives seconds. Safe for threads."""

    def __init__(
        self,
        space: Space,
        values: Values,
        access: Access,
        monotonic: Callable[[], float],
        tell: Tell = events.log,
    ) -> None:
        self._space = space
        self._values = values
        self._access = access
        self._monotonic = monotonic
        self._tell_event = tell
        self._unsent: OrderedDict[tuple[str, str], News] = OrderedDict()
        self._sent: deque[tuple[float, News]] = deque(maxlen=_UNSENT)
        self._origin: str | None = None
        self._is_overfull = False
        self._lock = threading.Lock()
        forks.each_in_child(self)

    async def tell(self, said: News) -> int | None:
        """Do in the space, and so everywhere, what was done here; raises StoreUnavailable.

        It is kept until it is done, also if whoever asked for it does not wait. Returns how many processes
        heard that a token ended, None for other news and where nobody can tell.
        """
        kept = self._keep(said)
        heard = await self._access.write(partial(self._send, kept))
        with self._lock:
            self._sent.append((self._monotonic(), kept))
            if self._unsent.get((kept.what, kept.name)) is kept:
                del self._unsent[kept.what, kept.name]
        return heard

    def _keep(self, said: News) -> News:
        """Keep news until they are told, joined with older ones of the same; return what is to be told."""
        with self._lock:
            said = _joined(self._unsent.get((said.what, said.name)), said)
            self._unsent[said.what, said.name] = said
            was_overfull = self._is_overfull
            if len(self._unsent) > _UNSENT:
                self._unsent.popitem(last=False)
                self._is_overfull = True
            is_new = self._is_overfull and not was_overfull
        if is_new:  # not with the lock held: whoever hears of it may end sessions
            self._tell_event(events.StoreFallenBehind())
        return said

    async def tell_again(self) -> None:
        """Tell what was kept, and what was told of late; raises StoreUnavailable.

        What cannot be told does not keep back what can for long: a full store may still forget.
        """
        with self._lock:
            last = self._monotonic() - _AGAIN
            late = [said for when, said in self._sent if when > last]
            self._sent.clear()
        for said in late:
            self._keep(said)
        with self._lock:
            unsent = list(self._unsent.items())
        failed = in_a_row = 0
        for name, said in unsent:
            try:
                await self.tell(said)
                in_a_row = 0
            except StoreUnavailable:
                failed, in_a_row = failed + 1, in_a_row + 1
                with self._lock:
                    if name in self._unsent:
                        self._unsent.move_to_end(name)  # others first, the next time
            if in_a_row == FAILURES:
                break
        if failed:
            raise StoreUnavailable

    async def _send(self, said: News) -> int | None:
        """Do it under the names that each secret gives, and tell those who know that one."""
        told = self._values.told(said)
        heard = None
        if said.what == "token" and said.stone is not None:
            heard = await self._bury(bytes.fromhex(said.name), said.stone, told)
        elif said.what == "user" and said.stone is not None:
            for grave, news in zip(self._values.user_graves(said.name, said.stone), told, strict=True):
                await self._bury_user(grave, said.stone, news)
        elif said.what == "doubt":
            for news in told:
                await self._space.forget(_NOBODY, news=news)
        elif said.what == "forget":
            for name, news in zip(self._values.token_names(bytes.fromhex(said.name)), told, strict=True):
                await self._space.forget(name, news=news)
        else:
            for name, news in zip(self._values.user_names(said.name), told, strict=True):
                await self._space.forget_user(name, news=news)
        return heard

    async def _bury(self, key: bytes, stone: Tombstone, told: Sequence[bytes]) -> int | None:
        facts, heard = self._values.token_names(key), None
        for (name, sealed, ttl), news in zip(self._values.graves(key, stone), told, strict=True):
            heard = await self._space.bury(name, sealed, ttl=ttl, news=news, facts=facts)
        return heard

    async def _bury_user(self, grave: Grave, stone: Tombstone, news: bytes) -> None:
        """Put a tombstone on a user, and on the user's tokens that were seen before by anybody."""
        gone = await self._space.bury_user(grave.name, grave.stone, at=stone.at, ttl=grave.ttl, news=news)
        graves = [one for name, fact in gone for one in self._values.graves_of_fact(name, fact, stone)]
        if graves:
            await self._space.bury_all(graves)
            # Once more: who has asked for one of them between the two steps must hear of it.
            await self._space.forget_user(grave.name, news=news)

    async def remind(self, stones: Callable[[], Stones]) -> None:
        """If the space has lost what it had, write all tombstones anew; raises StoreUnavailable."""
        origin = await self._access.write(self._space.origin)
        if self._origin not in {None, origin} or self._is_overfull:
            self._tell_event(events.StoreWrittenAnew())
            await self._bury_again(*stones())
            self._is_overfull = False
        self._origin = origin

    async def _bury_again(
        self, tokens: Sequence[tuple[bytes, Tombstone]], users: Sequence[tuple[str, Tombstone]]
    ) -> None:
        graves = [grave for key, stone in tokens for grave in self._values.graves(key, stone)]
        for start in range(0, len(graves), _BURIED_AT_ONCE):
            await self._access.write(partial(self._space.bury_all, graves[start : start + _BURIED_AT_ONCE]))
        for user_id, stone in users:
            await self._access.write(partial(self._send, News("user", user_id, stone)))
        # Who has asked in between has found nothing: each asks for everything once more.
        await self._access.write(partial(self._send, News("doubt", "", None)))

    def begin_anew(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()


def _joined(before: News | None, said: News) -> News:
    """Return what both say of one token or user: of two events the later counts."""
    if before is None or before.stone is None or said.stone is None:
        return said
    return said._replace(stone=before.stone.joined(said.stone))
