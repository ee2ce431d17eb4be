"""Asking Graph about a token, with what keeps both sides well in front of it."""

from __future__ import annotations

import asyncio
import logging

from fbguard.core.clock import Clock
from fbguard.core.governor import Governor
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.facebook.graph import Client, Graph

logger = logging.getLogger("fbguard")


class Upstream:
    """Graph as the validator knows it: one question, facts or a don't-know."""

    def __init__(self, graph: Graph, governor: Governor, credential: Secret, clock: Clock) -> None:
        self._graph = graph
        self._governor = governor
        self._credential = credential
        self._clock = clock
        self._state: tuple[str | None, float] = (None, 0.0)

    @property
    def trouble(self) -> tuple[str | None, float]:
        """The reason of the last don't-know, None once Graph has answered, and since when (wall time)."""
        return self._state

    @property
    def in_flight(self) -> int:
        """How many calls of Graph are under way."""
        return self._governor.in_flight

    async def debug_token(self, client: Client, token: Secret, fingerprint: str) -> TokenInfo | Finding:
        """Ask about a token; what is no answer about it is a Finding. No deadline of its own."""
        async with self._governor.call() as held:
            if held is not None:
                return held
            try:
                outcome = await self._graph.debug_token(client, self._credential, token, fingerprint)
            except asyncio.CancelledError:
                self._note("unavailable")  # the deadline, for all that anybody knows
                raise
        self._note(None if isinstance(outcome, TokenInfo) else outcome.reason)
        return outcome

    def _note(self, reason: str | None) -> None:
        if reason != self._state[0]:
            self._state = (reason, self._clock.time())
            logger.info("Graph: %s", reason or "all is well")
