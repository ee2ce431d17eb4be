"""What keeps Graph from being hammered: slots, breaker, back-off and pace, before each call and after it."""

from __future__ import annotations

import asyncio
import math
from typing import Final

from fbguard.core.breaker import Breaker, Hold
from fbguard.core.clock import Clock
from fbguard.core.pace import Pace
from fbguard.core.reasons import Finding
from fbguard.core.slots import Slots

FULL: Final = Finding("unavailable", retry_after=1)


class _Slot:
    """What :meth:`Governor.slot` returns; each look-up has one, so no loop has to keep book of generators."""

    __slots__ = ("_for_reserved", "_governor", "_is_held", "_slots")

    def __init__(self, governor: Governor, slots: Slots, *, for_reserved: bool) -> None:
        self._governor = governor
        self._slots = slots
        self._for_reserved = for_reserved
        self._is_held = False

    async def __aenter__(self) -> Finding | None:
        held = self._governor.hold()
        if held is not None:
            return held
        self._is_held = await self._slots.acquire(for_reserved=self._for_reserved)
        return None if self._is_held else FULL

    async def __aexit__(self, *_: object) -> None:
        if self._is_held:
            self._slots.release()


class Governor:
    """Lets a call of Graph pass, now or after a wait, or says why it must not be made.

    ``max_in_flight`` calls at once and ``max_queued`` in line, for all loops of the process;
    ``max_calls_per_second`` spaces them evenly. ``patience`` is the seconds after which no caller waits
    any more. All waits count against the caller's deadline.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_in_flight: int,
        max_queued: int,
        max_calls_per_second: float | None,
        patience: float,
    ) -> None:
        self.patience = patience
        self.max_in_flight = max_in_flight
        # Who has waited so long, and then for the pace, has as much left for the call itself.
        self.patience_in_line = patience / 4
        self._slots = Slots(max_in_flight, max_queued, self.patience_in_line)
        self._breaker = Breaker(clock.monotonic)
        self._pace = Pace(clock.monotonic, max_calls_per_second)
        self._throttle_code: int | None = None

    @property
    def in_flight(self) -> int:
        """How many calls are under way."""
        return self._slots.taken

    @property
    def free(self) -> int:
        """How many calls could be made without waiting for a slot."""
        return self._slots.free

    @property
    def most_at_once(self) -> float:
        """How many look-ups one call may carry at the moment: one while Graph is being probed."""
        return self._pace.most_at_once if self._breaker.is_calm else 1

    def reserve(self) -> bool:
        """Take a place among those that wait, for one who waits elsewhere; False if all are taken."""
        return self._slots.reserve()

    def unreserve(self) -> None:
        """Give that place back."""
        self._slots.unreserve()

    def slot(self, *, for_reserved: bool = False) -> _Slot:
        """Hold a slot in the block; gives None, or the don't-know that stands in for the call.

        Nobody waits in line while Graph is left alone anyway.
        """
        return _Slot(self, self._slots, for_reserved=for_reserved)

    def hold(self) -> Finding | None:
        """Return the don't-know for calls that must not be made at the moment, None if they may."""
        return self._refusal(self._breaker.hold())

    async def clearance(self, calls: int = 1) -> Finding | None:
        """Wait for the right moment for so many calls, with a slot held; or say why it does not come.

        Behind the line, so that what has happened meanwhile counts, and a probe is really made.
        """
        held = self._breaker.claim()
        if held is None:
            was_calm = self._breaker.is_calm
            wait = self._pace.book(calls, self.patience / 2)
            if wait > self.patience / 2:
                return self._refusal(Hold("throttled" if self._pace.is_slowed else "unavailable", wait))
            if wait:
                await asyncio.sleep(wait)
                held = self._breaker.claim() if was_calm else None
        return self._refusal(held)

    def _refusal(self, held: Hold | None) -> Finding | None:
        if held is None:
            return None
        code = self._throttle_code if held.reason == "throttled" else None
        return Finding(held.reason, code, retry_after=max(math.ceil(held.seconds), 1))

    @property
    def era(self) -> int:
        """What :meth:`answered` wants to have from the moment at which a call is made."""
        return self._breaker.era

    def answered(self, era: int) -> None:
        """Note that Graph said something about a token, to a call of that ``era``."""
        self._breaker.answered(era)

    def failed(self) -> None:
        """Note that nobody knows whether Graph works."""
        self._breaker.failed()

    def throttled(self, code: int | None, seconds: float | None) -> int:
        """Note that Graph throttles; return the whole seconds that callers should wait."""
        self._throttle_code = code
        return max(math.ceil(self._breaker.throttled(seconds)), 1)

    def used(self, percent: float) -> None:
        """Note how much of Graph's limit is used, below 100 %."""
        self._pace.used(percent)
