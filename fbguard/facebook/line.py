"""Look-ups of one event loop that find fewer free slots than they are: they share Graph's batch calls.

Those that start in one turn of the loop are looked at together, at its end. As long as there is a free slot
for each, each gets a call of its own; so nobody waits for the sake of a batch. Where there are more of them
they share the free slots evenly, and where there is none they wait, and the next slot takes along all it can.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import Context

from fbguard.core.governor import FULL, Governor
from fbguard.core.loops import disown
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.facebook.batch import MAX_ITEMS
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.graph import Outcome

Call = Callable[[Sequence[tuple[Secret, str]]], Awaitable[Sequence[Outcome | None]]]


class _Waiter:
    """Who waits for the answer about a token."""

    __slots__ = ("answer", "fingerprint", "since", "token")

    def __init__(self, token: Secret, fingerprint: str) -> None:
        self.token = token
        self.fingerprint = fingerprint
        self.answer: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self.since = time.monotonic()


class Line:
    """``call`` asks Graph about some tokens, each with its fingerprint; None is what it left open."""

    def __init__(self, governor: Governor, call: Call) -> None:
        self._governor = governor
        self._call = call
        self._waiting: dict[_Waiter, None] = {}  # in order of arrival
        self._porters: set[asyncio.Task[None]] = set()
        self._idle: set[object] = set()  # marks of porters that wait for a slot
        self._called: object | None = None  # mark of the one on the way, who has not yet seen who is here

    async def ask(self, token: Secret, fingerprint: str) -> Outcome | None:
        """Wait for the answer about a token; None if it must be asked for alone."""
        if not self._governor.reserve():
            return FULL
        mine = _Waiter(token, fingerprint)
        self._waiting[mine] = None
        self._call_porter()
        try:
            return await mine.answer
        finally:
            if mine in self._waiting:  # cancelled before anybody took it
                self._leave(mine)

    def _leave(self, waiter: _Waiter) -> None:
        del self._waiting[waiter]
        self._governor.unreserve()

    def _call_porter(self) -> None:
        """See that a porter comes when this turn of the loop is over; he sees how many more it takes."""
        is_needed = self._governor.free or len(self._idle) * MAX_ITEMS < len(self._waiting)
        if self._called is None and is_needed:
            self._called = self._send_porter()

    def _send_porters(self) -> None:
        """See that there are enough porters: one for each where each finds a slot, else one for fifty."""
        waiting = len(self._waiting)
        wanted = waiting if waiting <= self._governor.free else math.ceil(waiting / MAX_ITEMS)
        while len(self._idle) < wanted:
            self._send_porter()

    def _send_porter(self) -> object:
        mark = object()
        self._idle.add(mark)
        porter = asyncio.get_running_loop().create_task(self._carry(mark), context=Context())
        self._porters.add(porter)
        porter.add_done_callback(lambda porter: self._strike_off(porter, mark))
        return mark

    def _strike_off(self, porter: asyncio.Task[None], mark: object) -> None:
        """Forget a porter who is done; one who was cancelled before his first step has done nothing of it."""
        self._porters.discard(porter)
        self._idle.discard(mark)
        if self._called is mark:
            self._called = None

    async def _carry(self, mark: object) -> None:
        self._called = None
        self._send_porters()
        try:
            async with self._governor.slot(for_reserved=True) as held:
                self._idle.discard(mark)
                if held is not None:
                    self._turn_away(held)
                    return
                taken = self._take(min(self._share(), self._governor.most_at_once))
                self._send_porters()
                if taken:
                    await self._deliver(taken)
        finally:
            self._idle.discard(mark)

    def _share(self) -> int:
        """Return how many of those who wait go with one call, beside the porters who find slots, too."""
        return math.ceil(len(self._waiting) / (min(self._governor.free, len(self._idle)) + 1))

    def _take(self, most: float) -> list[_Waiter]:
        """Take the first of the line, or the last where the first have no time left (:class:`Slots`)."""
        line = list(self._waiting)
        if line and time.monotonic() - line[0].since > self._governor.patience_in_line:
            line.reverse()
        taken = line[: int(min(most, MAX_ITEMS))]
        for waiter in taken:
            self._leave(waiter)
        return taken

    async def _deliver(self, taken: list[_Waiter]) -> None:
        """Ask about those that were taken, and tell each; whatever happens, nobody is left waiting."""
        with suppress(TimeoutError):
            try:
                async with asyncio.timeout(self._governor.patience):
                    await self._ask_for(taken)
            finally:
                self._answer(taken, UNAVAILABLE)

    async def _ask_for(self, taken: list[_Waiter]) -> None:
        held = await self._governor.clearance(len(taken))
        if held is not None:
            self._answer(taken, held)
            self._turn_away(held)
            return
        outcomes = await self._call([(one.token, one.fingerprint) for one in taken])
        for one, outcome in zip(taken, outcomes, strict=True):
            if not one.answer.done():
                one.answer.set_result(outcome)

    def _turn_away(self, held: Finding) -> None:
        """Tell everybody who waits why Graph is not asked now."""
        while self._waiting:
            self._answer(self._take(MAX_ITEMS), held)

    @staticmethod
    def _answer(taken: list[_Waiter], finding: Finding) -> None:
        for one in taken:
            if not one.answer.done():
                one.answer.set_result(finding)

    async def aclose(self) -> None:
        """Call the porters back; who still waits is cancelled."""
        porters = list(self._porters)
        for porter in porters:
            porter.cancel()
        await asyncio.gather(*porters, return_exceptions=True)

    def abandon(self) -> None:
        """Forget the porters without ending them: they are the parent's, this is its child."""
        for porter in self._porters:
            disown(porter)
        self._porters.clear()
