"""What one event loop has for its look-ups: its connection to Graph, and those under way."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from fbguard.core.entries import Known
from fbguard.core.flights import Flights
from fbguard.core.loops import closing_with_loop
from fbguard.core.reasons import Finding
from fbguard.facebook.connection import Connection


class Landed(NamedTuple):
    """What a flight found, and what :meth:`FactCache.mark` gave before it began."""

    known: Known
    mark: int


class LoopLookUps:
    """A loop's ``connection`` and ``flights``, which end with it; ``deadline`` is seconds, total, of one."""

    def __init__(self, connection: Connection, deadline: float) -> None:
        self.connection = connection
        self.flights: Flights[Landed | Finding] = Flights(deadline)
        self._is_abandoned = False
        self._open = closing_with_loop(self._aclose)

    async def _aclose(self) -> None:
        if self._is_abandoned:
            return
        await self.flights.aclose()
        await self.connection.aclose()

    async def aclose(self) -> None:
        """End the look-ups and close the connections."""
        await self._open.aclose()

    def abandon(self) -> None:
        """Forget all of it in a forked child."""
        self._is_abandoned = True
        self.flights.abandon()
        self.connection.abandon()
        # Nothing to wait for any more; or the parent was closing it at that moment, and nobody does so here.
        with suppress(StopIteration, RuntimeError):
            self._open.aclose().send(None)
