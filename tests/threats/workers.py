"""Workers that share a Redis: each is a guard, and all are asked in one colour."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
import redis

from fbguard import Guard, Refused
from fbguard.core.errors import StoreUnavailable
from fbguard.core.secret import Secret
from fbguard.stores import access
from fbguard.stores.protocol import Store
from fbguard.stores.redis import link
from tests.support import PATIENCE, TOKEN, FakeClock, FakeGraph, make_guard

COLOURS: Final = ("sync", "async")
USER: Final = "1001"


def eventually(condition: Callable[[], object]) -> None:
    """Wait until the condition holds; it may ask a worker of any colour."""
    patience = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < patience, "this did not happen"
        time.sleep(0.002)


class Worker:
    """A guard of a fleet, asked in the fleet's colour."""

    def __init__(self, fleet: Fleet, guard: Guard) -> None:
        self._fleet = fleet
        self.guard = guard

    def said(self, token: str = TOKEN) -> str:
        """Return "ok", or the reason of the refusal."""
        return self.all_said([token])[0]

    def all_said(self, tokens: Sequence[str]) -> list[str]:
        """Ask about all at once: as tasks of one loop, or one a thread."""
        if self._fleet.runner is not None:
            return self._fleet.runner.run(self._all_said(tokens))
        with ThreadPoolExecutor(min(len(tokens), 8)) as pool:
            return list(pool.map(self._said, tokens))

    async def _all_said(self, tokens: Sequence[str]) -> list[str]:
        return list(await asyncio.gather(*map(self.asaid, tokens)))

    async def asaid(self, token: str = TOKEN) -> str:
        try:
            await self.guard.acheck(token)
        except Refused as refused:
            return refused.reason
        return "ok"

    def _said(self, token: str) -> str:
        try:
            self.guard.check(token)
        except Refused as refused:
            return refused.reason
        return "ok"

    def end(self, token: str = TOKEN) -> None:
        """End a session; raises StoreUnavailable."""
        self._do(lambda: self.guard.expire_session(token), lambda: self.guard.aexpire_session(token))

    def forget_user(self, user: str = USER) -> None:
        self._do(lambda: self.guard.forget_user(user), lambda: self.guard.aforget_user(user))

    def end_user(self, at: float, user: str = USER) -> None:
        """Do what a callback of Facebook's does; raises StoreUnavailable."""
        end = self.guard._revoker.end_user
        self._do(lambda: asyncio.run(end(user, at)), lambda: end(user, at))

    def _do(self, here: Callable[[], object], there: Callable[[], Coroutine[Any, Any, object]]) -> None:
        if self._fleet.runner is None:
            here()
        else:
            self._fleet.runner.run(there())

    def try_to(self, do: Callable[[], object]) -> bool:
        """Tell whether it went well; False for a store that is away, and nothing else may go wrong."""
        try:
            do()
        except StoreUnavailable:
            return False
        return True

    def watch(self, token: str = TOKEN) -> list[str]:
        """Open a connection; return the list in which the reason of its end will be."""
        ended: list[str] = []
        self.guard.watch(Secret(token), self.guard.check(token), lambda finding: ended.append(finding.reason))
        return ended

    @property
    def status(self) -> str:
        return self._health().status

    @property
    def failed(self) -> int:
        return self._health().failed

    @property
    def unreadable(self) -> int:
        return self._health().unreadable

    def _health(self) -> Any:
        health = self.guard.health().store
        assert health is not None
        return health

    def asked(self) -> Worker:
        """Return once the store is asked again: if it was left alone, by the next question a second later."""

        def is_asked() -> bool:
            if self.status == "away":
                time.sleep(0.05)  # a real second has to be short of the facts' time
                self._fleet.clock.advance(access.REST)
                self.said("EAAwhoAsksAgain")
            return self.status == "ok"

        eventually(is_asked)
        return self

    def close(self) -> None:
        if self._fleet.runner is not None:
            self._fleet.runner.run(self.guard.aclose_here())
        self.guard.close()

    def heard(self) -> Worker:
        """Return once the news are heard."""
        if not self.guard._revoker.shared._listening._work:
            self.said("EAAwhoStartsToListen")
        eventually(lambda: self.status == "ok")
        return self


class Fleet:
    """``worker(url)`` makes one more."""

    def __init__(self, graph: FakeGraph, clock: FakeClock, colour: str) -> None:
        self.graph = graph
        self.clock = clock
        self.runner = asyncio.Runner() if colour == "async" else None
        self._workers: list[Worker] = []

    def worker(self, url: str | Store, **options: Any) -> Worker:
        wired = {"store": url, "deadline": PATIENCE} | options
        self._workers.append(Worker(self, make_guard(wired.pop("graph", self.graph), self.clock, **wired)))
        return self._workers[-1]

    def workers(self, url: str | Store, count: int = 2) -> list[Worker]:
        """Return so many that hear the news."""
        return [self.worker(url).heard() for _ in range(count)]

    def close(self) -> None:
        for worker in self._workers:
            worker.close()
        if self.runner is not None:
            self.runner.close()


@pytest.fixture(params=COLOURS)
def fleet(request: pytest.FixtureRequest, graph: FakeGraph, clock: FakeClock) -> Iterator[Fleet]:
    fleet = Fleet(graph, clock, request.param)
    yield fleet
    fleet.close()


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take its time: for what is not about time."""
    monkeypatch.setattr(access, "READ", PATIENCE)
    monkeypatch.setattr(access, "WRITE", PATIENCE)
    monkeypatch.setattr(link, "_PATIENCE", PATIENCE)


class Vault:
    """What lies in a Redis, as anybody sees it who may look and write there."""

    def __init__(self, client: redis.Redis) -> None:
        self.client: Any = client

    def held(self, kind: str = "") -> list[bytes]:
        """Return the keys of a kind, such as ``fact``."""
        return sorted(key for key in self.client.scan_iter() if kind in {"", self.kind(key)})

    def key(self, kind: str) -> bytes:
        """Return the only one of a kind."""
        [key] = [key for key in self.client.scan_iter() if self.kind(key) == kind]
        return key

    @staticmethod
    def kind(key: bytes) -> str:
        return key.partition(b"}:")[2].partition(b":")[0].decode()
