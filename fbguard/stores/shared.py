"""A guard's side of a shared store: what it asks there, and what it hears from the other workers."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import uuid
from collections.abc import MutableMapping, Sequence
from functools import partial
from typing import Final, Literal, NamedTuple

from cachetools import LRUCache

from fbguard import events
from fbguard.core import background, forks
from fbguard.core.clock import Clock
from fbguard.core.errors import StoreUnavailable
from fbguard.core.health import StoreHealth
from fbguard.core.token import TokenInfo
from fbguard.events import Tell
from fbguard.revocation.tombstones import Tombstone
from fbguard.stores.access import Access
from fbguard.stores.codec import Codec, Fact
from fbguard.stores.listening import Listening
from fbguard.stores.news import News
from fbguard.stores.protocol import Claim, Space, Store
from fbguard.stores.questions import Questions, Said
from fbguard.stores.telling import Here, Telling, Watched
from fbguard.stores.values import Values

logger = logging.getLogger("fbguard")

CLAIM: Final = 1.0  # seconds for which one worker may look a token up while others wait for his answer
_PAUSES: Final = (0.01, 0.1)  # seconds between two looks of who waits: at first, and at last
_DISTRUSTED: Final = 10_000  # tokens whose facts in the store are known to be old
_SKEW: Final = 5.0  # seconds by which the clocks of two machines may differ
_CHECKED_AT_ONCE: Final = 20  # open connections


class Look(NamedTuple):
    """What the other workers know about a token.

    ``mark`` is None when the store is away; ``era`` is when it was asked, None if nobody listened then;
    ``holder`` is set if the others wait for this one's answer.
    """

    fact: Fact | None = None
    stone: Tombstone | None = None
    user_stone: Tombstone | None = None
    mark: int | None = None
    era: int | None = None
    holder: str | None = None


class SharedStore:
    """Safe for threads. ``namespace`` is what the guards that share have in common.

    A store that is away is no reason to refuse anybody: tokens are looked up at Graph then. Who ends a
    session hears of it by StoreUnavailable, and the others do once the store is back.
    """

    def __init__(
        self,
        store: Store,
        namespace: str,
        codec: Codec,
        clock: Clock,
        here: Here,
        *,
        tell: Tell = events.log,
    ) -> None:
        self._space: Space = store.space(namespace)
        self._values = Values(codec, clock.time)
        self._questions = Questions(self._space, self._values)
        self._clock = clock
        self._here = here
        self._access = Access(clock.monotonic, tell)
        self._telling = Telling(self._space, self._values, self._access, clock.monotonic, tell)
        self._listening = Listening(self._space, self._heard, self._catch_up, tell)
        self._distrusted: MutableMapping[bytes, float] = LRUCache(_DISTRUSTED)
        self._was_away = False
        self._checked: int | None = None  # the era in which the open connections are looked after ...
        self._unchecked: Sequence[Watched] = ()  # ... and those that are still to be
        self._listeners: int | None = None  # that heard of the last end
        self._lock = threading.Lock()
        forks.each_in_child(self)

    @property
    def eras(self) -> Listening:
        """Who knows since when the news are heard."""
        return self._listening

    def doubts(self, era: int | None) -> bool:
        """Tell whether a fact must be asked for again that was asked for in this era.

        While the store is away nobody can be asked: then what is in memory counts until its time is over.
        """
        return (era is None or era != self._listening.era) and self._access.is_open

    def health(self) -> StoreHealth:
        """Return how the store is."""
        status: Literal["ok", "unheard", "away"] = "unheard" if self._listening.era is None else "ok"
        if not self._access.is_open:
            status = "away"
        return StoreHealth(status, self._access.failed, self._values.unreadable, self._listeners)

    # -- facts -------------------------------------------------------------------------------------------

    async def find(self, key: bytes, *, claims: bool) -> Look:
        """Return what is known of a token, if the store can be asked.

        With ``claims`` one worker at a time looks it up, for as long as a claim lasts; the others wait here.
        """
        self._listening.start()
        claim = Claim(uuid.uuid4().hex, CLAIM) if claims else None
        loop, (pause, longest) = asyncio.get_running_loop(), _PAUSES
        until = loop.time() + CLAIM
        while True:
            look, is_others = await self._look(key, claim)
            if not is_others or loop.time() >= until:
                return look
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, longest)

    async def _look(self, key: bytes, claim: Claim | None) -> tuple[Look, bool]:
        """Return what is known now, and whether somebody else looks the token up."""
        era = self._listening.era
        try:
            said = await self._access.read(
                partial(self._questions.of_token, key, claim), partial(self._came_late, key)
            )
        except StoreUnavailable:
            logger.debug("the store is away")
            self._was_away = True
            return Look(), False
        if self._was_away:  # a connection may have been opened with what Graph said meanwhile
            self._was_away = False
            self._checked = None
            self._listening.catch_up_again()
        holder = claim.holder if claim is not None and said.is_claimed else None
        fact = self._believed(key, said.fact)
        return Look(fact, said.stone, said.user_stone, said.mark, era, holder), said.is_claimed is False

    def _came_late(self, key: bytes, said: Said) -> None:
        """Heed what the store says of a token when nobody waits for it any more: that it has ended."""
        stone = said.stone
        if stone is None and said.fact is not None and said.user_stone is not None:
            is_old = said.user_stone.covers(said.fact.info, said.fact.since)
            stone = said.user_stone if is_old else None
        if stone is not None:
            self._here.hear(News("token", key.hex(), stone))

    def _believed(self, key: bytes, fact: Fact | None) -> Fact | None:
        """Return a fact of the store's, unless it is known here to be old."""
        with self._lock:
            distrusted = self._distrusted.get(key, -math.inf)
        latest = self._clock.time() + _SKEW  # beyond it the writer's clock, or ours, is wrong
        return fact if fact is not None and distrusted < fact.said <= latest else None

    async def stone_of_user(self, user_id: str | None) -> Tombstone | None:
        """Return the tombstone of a user; raises StoreUnavailable."""
        return None if user_id is None else await self._access.read(partial(self._questions.of_user, user_id))

    async def keep(self, key: bytes, fact: Fact, *, ttl: float, look: Look) -> bool:
        """Store a fact; False if the session was ended, or the user forgotten, since that look.

        Raises StoreUnavailable.
        """
        mark = look.mark
        if mark is None:
            raise StoreUnavailable
        name, user_id = self._values.token_name(key), fact.info.user_id
        user = None if user_id is None else self._values.user_name(user_id)
        sealed, ends = self._values.sealed_fact(key, fact), self._values.end_names(key)
        return await self._access.read(
            lambda: self._space.keep(name, sealed, user=user, ttl=ttl, mark=mark, ends=ends)
        )

    async def release(self, key: bytes, look: Look) -> None:
        """Let somebody else look a token up: there is no answer to keep."""
        name, holder = self._values.token_name(key), look.holder
        if holder is None:
            return
        try:
            await self._access.read(lambda: self._space.release(name, holder))
        except StoreUnavailable:
            logger.debug("the store is away")  # the claim ends by itself

    # -- sessions that end -------------------------------------------------------------------------------

    async def spread(self, said: News) -> None:
        """Do in the store, and so everywhere, what was done here; raises StoreUnavailable.

        Then it is tried again once the store is back: of which hears who listens, so that begins here, too.
        Not before it is told, or who ends one session would count himself among those that heard of it.
        """
        is_told = False
        if said.what == "token":
            self._listeners = None
        try:
            heard = await self._telling.tell(said)
            is_told = True
            if said.what == "token":
                self._listeners = heard
        finally:
            self._listening.start()
            if not is_told:  # the link may not be lost: a full server refuses to write
                self._listening.catch_up_again()

    def forget_soon(self, key: bytes) -> None:
        """Have a token looked up anew, everywhere; here from now on, elsewhere soon."""
        with self._lock:
            self._distrusted[key] = self._clock.time()
        background.attempt(self._forget(key))

    async def _forget(self, key: bytes) -> None:
        try:
            await self.spread(News("forget", key.hex(), None))
        except StoreUnavailable:
            logger.debug("the store is away: other workers keep what they know for now")

    # -- news of others ----------------------------------------------------------------------------------

    def _heard(self, sealed: bytes) -> None:
        said = self._values.news(sealed)
        if said is not None:
            self._here.hear(said)

    async def _catch_up(self) -> None:
        """Begin an era: end connections that ended unheard, and tell what others may not know.

        That last: a store that refuses to write must not keep back what can be read. Nor may a connection
        that cannot be checked keep back the others, or what is to be told.
        """
        era = self._listening.era
        if self._checked != era:
            self._checked, self._unchecked = era, self._here.watched()
        failure = await self._check_connections()
        await self._telling.remind(self._here.stones)
        await self._telling.tell_again()
        if failure is not None:
            raise failure

    async def _check_connections(self) -> BaseException | None:
        """Check those that are still to be, failed ones behind the others; return what was raised last."""
        todo, failed, failure = self._unchecked, list[Watched](), None
        while todo and len(failed) < _CHECKED_AT_ONCE:
            some, todo = todo[:_CHECKED_AT_ONCE], todo[_CHECKED_AT_ONCE:]
            outcomes = await asyncio.gather(*[self._check(*one) for one in some], return_exceptions=True)
            for one, outcome in zip(some, outcomes, strict=True):
                if outcome is not None:
                    failed.append(one)
                    failure = outcome
        self._unchecked = [*todo, *failed]
        return failure

    async def _check(self, key: bytes, info: TokenInfo, since: float) -> None:
        """See whether a connection's token was ended while nobody listened."""
        stone = (await self._access.write(partial(self._questions.of_token, key))).stone
        if stone is None:
            user_stone = await self.stone_of_user(info.user_id)
            stone = user_stone if user_stone is not None and user_stone.covers(info, since) else None
        if stone is not None:
            self._here.hear(News("token", key.hex(), stone))

    # -- ends --------------------------------------------------------------------------------------------

    def begin_anew(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()

    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """Return the loops of this process on which there is something to close."""
        own = background.running()
        return [*self._access.loops(), *([] if own is None else [own])]

    async def aclose_here(self) -> None:
        """Close what the store has on the running loop."""
        await self._listening.aclose_here()
        await self._access.aclose_here()
        await self._space.aclose()

    def shut(self) -> None:
        """Stop listening."""
        self._listening.stop()
