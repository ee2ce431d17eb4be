"""Look-ups that wait for a slot, of one event loop: they go out together, in Graph's batch calls.

Only who would have to wait comes here, so nobody waits for the sake of a batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import Context

from fbguard.core.governor import FULL, Governor
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.facebook.batch import MAX_ITEMS
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.graph import Outcome

_Waiter = tuple[Secret, str, "asyncio.Future[Outcome | None]"]
Call = Callable[[Sequence[tuple[Secret, str]]], Awaitable[Sequence[Outcome | None]]]


class Line:
    """``call`` asks Graph about some tokens, each with its fingerprint; None is what it left open."""

    def __init__(self, governor: Governor, call: Call) -> None:
        self._governor = governor
        self._call = call
        self._waiting: deque[_Waiter] = deque()
        self._porters: set[asyncio.Task[None]] = set()
        self._idle = 0  # porters that wait for a slot

    async def ask(self, token: Secret, fingerprint: str) -> Outcome | None:
        """Wait for the answer about a token; None if it must be asked for alone."""
        if not self._governor.reserve():
            return FULL
        mine: _Waiter = (token, fingerprint, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        self._send_porters()
        try:
            return await mine[2]
        finally:
            if mine in self._waiting:  # cancelled before anybody took it
                self._waiting.remove(mine)
                self._governor.unreserve()

    def _send_porters(self) -> None:
        """See that enough porters wait for slots to take everybody along."""
        while self._idle * MAX_ITEMS < len(self._waiting):
            self._idle += 1
            porter = asyncio.get_running_loop().create_task(self._carry(), context=Context())
            self._porters.add(porter)
            porter.add_done_callback(self._porters.discard)

    async def _carry(self) -> None:
        is_idle = True
        try:
            async with self._governor.slot(for_reserved=True) as held:
                self._idle, is_idle = self._idle - 1, False
                if held is not None:
                    self._turn_away(held)
                    return
                taken = self._take(self._governor.most_at_once)
                self._send_porters()
                if taken:
                    await self._deliver(taken)
        finally:
            self._idle -= is_idle

    def _take(self, most: float) -> list[_Waiter]:
        taken: list[_Waiter] = []
        while self._waiting and len(taken) + 1 <= min(most, MAX_ITEMS):
            taken.append(self._waiting.popleft())
            self._governor.unreserve()
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
        outcomes = await self._call([(token, fingerprint) for token, fingerprint, _ in taken])
        for (_, _, future), outcome in zip(taken, outcomes, strict=True):
            if not future.done():
                future.set_result(outcome)

    def _turn_away(self, held: Finding) -> None:
        """Tell everybody who waits why Graph is not asked now."""
        while self._waiting:
            self._answer(self._take(MAX_ITEMS), held)

    @staticmethod
    def _answer(taken: list[_Waiter], finding: Finding) -> None:
        for _, _, future in taken:
            if not future.done():
                future.set_result(finding)

    async def aclose(self) -> None:
        """Call the porters back; who still waits is cancelled."""
        porters = list(self._porters)
        for porter in porters:
            porter.cancel()
        await asyncio.gather(*porters, return_exceptions=True)

    def abandon(self) -> None:
        """Forget the porters without ending them: they are the parent's, this is its child."""
        for porter in self._porters:
            porter._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # noqa: SLF001
        self._porters.clear()
