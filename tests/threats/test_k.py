"""Rows K01 and K02: a Redis that is not there, that dies, that hangs, that crawls."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from fbguard.core.errors import StoreUnavailable
from fbguard.stores.access import FAILURES, READ, REST, YOUTH
from fbguard.stores.protocol import Found
from tests.redis_relay import Relay
from tests.redis_servers import HOST, RedisServer
from tests.support import PATIENCE, TOKEN, FakeGraph, dead
from tests.threats.workers import Fleet, Worker, eventually

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

TOKENS = [f"EAAtoken{number}" for number in range(60)]
# All of them one by one, when each waits its time and no more: without a limit the first alone takes
# seconds, without a breaker all together take as long as this. A busy machine has ten times what it needs.
SOON = YOUTH + len(TOKENS) * READ / 2  # the first of a worker's wait longer, but all within one second


def all_pass(worker: Worker, tokens: list[str]) -> float:
    """Ask one by one; return the seconds that it took."""
    start = time.perf_counter()
    assert [worker.said(token) for token in tokens] == ["ok"] * len(tokens)
    return time.perf_counter() - start


def finds_of(worker: Worker) -> list[str]:
    """Return the list that gets the name of each token which the store is asked for from now on."""
    space: Any = worker.guard._revoker.shared._space
    asked: list[str] = []
    find = space.find

    async def noted(name: str, **options: Any) -> Found:
        asked.append(name)
        return await find(name, **options)

    space.find = noted
    return asked


def is_left_alone(worker: Worker) -> None:
    """Check that a store which does not answer costs three questions, and then one a second."""
    asked = finds_of(worker)
    assert all_pass(worker, TOKENS) < SOON
    assert (len(asked), worker.status) == (FAILURES, "away")
    assert worker.failed >= FAILURES  # what the listener asks counts, too
    assert all_pass(worker, TOKENS) < SOON  # cached
    worker._fleet.clock.advance(REST)
    assert [worker.said("EAAone"), worker.said("EAAmore")] == ["ok", "ok"]
    assert len(asked) == FAILURES + 1


# -- K01 -----------------------------------------------------------------------------------------------


def test_K01_down_at_the_start(fleet: Fleet, own_redis: RedisServer, graph: FakeGraph):
    own_redis.kill()
    worker = fleet.worker(own_redis.url)
    is_left_alone(worker)
    assert sorted(graph.calls) == sorted([*TOKENS, "EAAone", "EAAmore"])  # each once, then from memory
    graph.default = dead(190, 463)
    assert worker.said("EAAdead") == "expired"
    with pytest.raises(StoreUnavailable):
        worker.end()
    assert worker.said() == "session_invalidated"
    own_redis.start()
    worker.heard()
    eventually(lambda: fleet.worker(own_redis.url).said() == "session_invalidated")  # it is told at last


class Load:
    """Four callers that ask without a pause, in the fleet's colour, of new tokens and known ones."""

    def __init__(self, fleet: Fleet, workers: list[Worker]) -> None:
        self._fleet = fleet
        self._callers = list(enumerate([*workers, *workers]))
        self._over = threading.Event()
        self.heard: list[str] = []

    def during(self, act: Callable[[], None]) -> None:
        """Keep asking until this is done."""
        if self._fleet.runner is not None:
            self._fleet.runner.run(self._in_tasks(act))
            return
        with ThreadPoolExecutor(len(self._callers)) as pool:
            asking = [pool.submit(self._ask, *caller) for caller in self._callers]
            self._until_done(act)
            for one in asking:
                one.result(PATIENCE)

    async def _in_tasks(self, act: Callable[[], None]) -> None:
        done = asyncio.create_task(asyncio.to_thread(self._until_done, act))
        await asyncio.gather(done, *(self._aask(*caller) for caller in self._callers))

    def _until_done(self, act: Callable[[], None]) -> None:
        try:
            act()
        finally:
            self._over.set()

    def _tokens(self, number: int) -> Iterator[str]:
        for step in itertools.count():
            if self._over.is_set():
                return
            yield f"EAAnew{number}-{step}" if step % 3 else TOKENS[step % len(TOKENS)]

    def _ask(self, number: int, worker: Worker) -> None:
        for token in self._tokens(number):
            self.heard.append(worker._said(token))

    async def _aask(self, number: int, worker: Worker) -> None:
        for token in self._tokens(number):
            self.heard.append(await worker.asaid(token))
            await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_K01_down_under_load(fleet: Fleet, own_redis: RedisServer, graph: FakeGraph, how: str):
    one, two = fleet.workers(own_redis.url)
    assert {*one.all_said(TOKENS), *two.all_said(TOKENS)} == {"ok"}
    load = Load(fleet, [one, two])

    def end_it() -> None:
        eventually(lambda: len(load.heard) > 100)
        getattr(own_redis, how)()
        eventually(lambda: one.status == two.status == "away")
        count = len(load.heard)
        eventually(lambda: len(load.heard) > count + 100)

    load.during(end_it)
    assert set(load.heard) == {"ok"}
    own_redis.start()
    one.heard()
    two.heard()
    assert one.said("EAAafterwards") == "ok"
    calls = len(graph.calls)
    assert two.said("EAAafterwards") == "ok"
    assert len(graph.calls) == calls  # they share again


# -- K02 -----------------------------------------------------------------------------------------------


@contextmanager
def deaf() -> Iterator[str]:
    """Give the URL of a socket that takes connections and says nothing."""
    with socket.create_server((HOST, 0), backlog=100) as server:
        yield f"redis://{HOST}:{server.getsockname()[1]}"


@contextmanager
def full() -> Iterator[str]:
    """Give the URL of a socket whose queue is full: who comes is not answered at all, as by a firewall."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server((HOST, 0), backlog=0))
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"redis://{HOST}:{server.getsockname()[1]}"


@pytest.mark.parametrize("nobody", [deaf, full])
def test_K02_nobody_answers(fleet: Fleet, nobody: Any):
    with nobody() as url:
        is_left_alone(fleet.worker(url))


def test_K02_each_answer_takes_seconds(fleet: Fleet, redis_server: RedisServer):
    with Relay(redis_server.port) as relay:
        worker = fleet.worker(relay.url).heard()
        relay.delay = 5.0
        is_left_alone(worker)
        relay.mend()
        relay.cut()  # what is under way takes its time
        relay.mend()
        worker.heard()


@pytest.mark.slow
def test_K02_it_hangs_and_comes_back(fleet: Fleet, own_redis: RedisServer, graph: FakeGraph):
    worker, other = fleet.workers(own_redis.url)
    assert [worker.said(), other.said()] == ["ok", "ok"]
    own_redis.pause()
    is_left_alone(worker)
    start = time.perf_counter()
    with pytest.raises(StoreUnavailable):
        other.end()
    assert time.perf_counter() - start < PATIENCE / 2  # a second, and not for ever
    assert other.said() == "session_invalidated"
    own_redis.resume()
    worker.asked()
    other.asked()
    eventually(lambda: worker.said() == "session_invalidated")
    assert worker.said("EAAafterwards") == "ok"
    calls = len(graph.calls)
    assert other.said("EAAafterwards") == "ok"
    assert len(graph.calls) == calls


def test_K02_requests_that_come_together_wait_together(fleet: Fleet, own_redis: RedisServer):
    worker = fleet.worker(own_redis.url).heard()
    own_redis.pause()
    start = time.perf_counter()
    assert set(worker.all_said([TOKEN, *TOKENS])) == {"ok"}
    assert time.perf_counter() - start < SOON
    assert worker.status == "away"
