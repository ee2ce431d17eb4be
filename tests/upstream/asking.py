"""Asking a guard in both colours, over the client that it ships with, and how long that takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

from fbguard import Guard, Refused, Requirement, TokenInfo
from fbguard.core import background
from fbguard.core.answers import Answer
from tests.support import APP_ID, PATIENCE, SECRET, TOKEN, FakeClock

MARGIN = 0.5  # seconds beyond the deadline, on a machine that others use, too


class Verdict(NamedTuple):
    """What a guard said and after how many seconds; ``status`` is 200 for yes."""

    status: int
    reason: str | None
    retry_after: int | None
    seconds: float
    info: TokenInfo | None = None
    refused: Refused | None = None

    @property
    def brief(self) -> tuple[int, str | None]:
        """Return status and reason."""
        return self.status, self.reason

    @property
    def answer(self) -> Answer:
        """Return what a client is sent."""
        assert self.refused is not None
        return self.refused.answer()


YES = (200, None)
UNAVAILABLE = (503, "unavailable")
THROTTLED = (503, "throttled")


def build(url: str, **options: Any) -> Guard:
    """Return a guard that asks the server at ``url``, through no transport but its own."""
    wired: dict[str, Any] = {
        "app_id": APP_ID,
        "app_secret": SECRET,
        "graph_url": url,
        "clock": FakeClock(),
        "deadline": PATIENCE,
    }
    return Guard(**(wired | options))


class Asker:
    """Asks a guard by ``check``, or by ``acheck`` on one loop that lives as long as the asker."""

    def __init__(self, guard: Guard, colour: str) -> None:
        self.guard = guard
        self.colour = colour
        self._runner = asyncio.Runner() if colour == "async" else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._runner is None:
            self.guard.close()
        else:
            self._runner.run(self.guard.aclose())
            self._runner.close()

    def run(self, work: Any) -> Any:
        """Run a coroutine on the loop that look-ups of this colour run on."""
        if self._runner is None:
            return background.submit(work).result(2 * PATIENCE)
        return self._runner.run(work)

    def ask(self, token: str = TOKEN, requirement: Requirement | None = None) -> Verdict:
        """Ask about one token."""
        if self._runner is not None:
            return self._runner.run(self._acheck(token, requirement))
        started = time.monotonic()
        try:
            return _said(self.guard.check(token, requirement), started)
        except Refused as refused:
            return _said(refused, started)

    def wait(self, condition: Callable[[], object]) -> None:
        """Let the loop that asks Graph run until the condition holds."""

        async def until() -> None:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    await asyncio.sleep(0.005)

        self.run(until())

    def ask_until(self, expected: tuple[int, str | None], token: str = TOKEN) -> Verdict:
        """Ask again and again until it is said."""
        patience = time.monotonic() + PATIENCE
        while (verdict := self.ask(token)).brief != expected:
            assert time.monotonic() < patience, f"this was said: {verdict.brief}"
        return verdict

    def together(self, tokens: Sequence[str]) -> list[Verdict]:
        """Ask about many at once: as tasks of the loop, or one a thread."""
        if self._runner is not None:
            return self._runner.run(self._gather(tokens))
        with ThreadPoolExecutor(len(tokens)) as pool:
            return list(pool.map(self.ask, tokens))

    def ask_while_ticking(self, token: str = TOKEN) -> tuple[Verdict, int]:
        """Ask, and count how often another task of the loop that asks Graph got its turn meanwhile."""
        ticks = [0]

        async def tick() -> None:
            while True:
                await asyncio.sleep(0.01)
                ticks[0] += 1

        if self._runner is not None:
            return self._runner.run(self._beside(tick(), token)), ticks[0]
        ticking = background.submit(tick())
        try:
            return self.ask(token), ticks[0]
        finally:
            ticking.cancel()

    async def _beside(self, other: Any, token: str) -> Verdict:
        task = asyncio.ensure_future(other)
        try:
            return await self._acheck(token)
        finally:
            task.cancel()

    async def _gather(self, tokens: Sequence[str]) -> list[Verdict]:
        return list(await asyncio.gather(*map(self._acheck, tokens)))

    async def _acheck(self, token: str, requirement: Requirement | None = None) -> Verdict:
        started = time.monotonic()
        try:
            return _said(await self.guard.acheck(token, requirement), started)
        except Refused as refused:
            return _said(refused, started)


def _said(outcome: TokenInfo | Refused, started: float) -> Verdict:
    seconds = time.monotonic() - started
    if isinstance(outcome, TokenInfo):
        return Verdict(200, None, None, seconds, info=outcome)
    # Not the exception itself: its traceback holds frames, and they what a test must be able to drop.
    refused = outcome.with_traceback(None)
    return Verdict(refused.status, refused.reason, refused.retry_after, seconds, refused=refused)
