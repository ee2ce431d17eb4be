"""The guard's own loop, and what a fork leaves of it."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fbguard import Guard, Refused
from fbguard.core import background
from fbguard.core.carrier import carrier_of_request
from fbguard.core.errors import StoreUnavailable
from fbguard.stores.memory import MemoryStore
from tests.support import (
    PATIENCE,
    TOKEN,
    FakeClock,
    FakeGraph,
    MovableLoop,
    call_wsgi,
    make_guard,
    until,
    wait_until,
    wsgi_environ,
)


async def where() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    return asyncio.get_running_loop(), threading.current_thread()


def test_one_loop_on_one_daemon_thread():
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: background.submit(where()).result(PATIENCE), range(64)))
    assert len(set(found)) == 1
    loop, thread = found[0]
    assert loop is background.loop() is background.running()
    assert thread.daemon
    assert thread is not threading.current_thread()


def test_exceptions_and_cancellation_come_through():
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        background.submit(broken()).result(PATIENCE)
    ended = threading.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    future = background.submit(endless())
    assert background.submit(where()).result(PATIENCE)  # it has begun
    assert future.cancel()
    assert ended.wait(PATIENCE)


# -- what must not stop it -----------------------------------------------------------------------------------


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process have no background loop yet; the one that it had comes back afterwards."""
    with monkeypatch.context() as patch:
        patch.setattr(background, "_loop", None)
        yield
        own = background.running()
        if own is not None:
            own.call_soon_threadsafe(own.stop)
            wait_until(own.is_closed)


def no_more_threads(monkeypatch: pytest.MonkeyPatch, count: int = 1) -> None:
    """Let the machine have no thread for the loop, so many times."""
    start, left = threading.Thread.start, [None] * count

    def fail(self: threading.Thread) -> None:
        if self.name == "fbguard" and left:
            left.pop()
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", fail)


def answer_of(ask: Callable[[], object]) -> str:
    try:
        ask()
    except Refused as refused:
        return f"{refused.status} {refused.reason}"
    except BaseException as error:
        return type(error).__name__
    return "in"


@pytest.mark.usefixtures("fresh")
def test_where_no_thread_could_be_started_the_next_caller_starts_one(monkeypatch, caplog):
    no_more_threads(monkeypatch)
    with pytest.raises(background.NoLoop):
        background.submit(where())
    assert "can't start new thread" in caplog.text
    assert background.running() is None
    assert background.submit(where()).result(PATIENCE)[0] is background.running()


@pytest.mark.usefixtures("fresh")
def test_who_asks_where_no_thread_is_left_is_asked_to_come_again(graph, clock, monkeypatch):
    store = MemoryStore(time=clock.time)
    with make_guard(graph, clock, store=store) as guard:
        no_more_threads(monkeypatch, 3)
        assert answer_of(lambda: guard.check(TOKEN)) == "503 unavailable"
        with pytest.raises(StoreUnavailable):
            guard.expire_session("EAAother")
        assert call_wsgi(guard.callbacks_wsgi(), wsgi_environ("/restserver.php", "GET")).status == 503
        assert answer_of(lambda: guard.check(TOKEN)) == "in"


@pytest.mark.usefixtures("fresh")
def test_a_loop_that_has_ended_is_made_anew():
    first = background.loop()
    first.call_soon_threadsafe(first.stop)
    wait_until(first.is_closed)
    assert background.running() is None
    assert background.submit(where()).result(PATIENCE)[0] is not first


@pytest.mark.usefixtures("fresh")
def test_a_hit_is_served_where_no_thread_is_left_for_its_refresh(monkeypatch):
    graph, clock = FakeGraph(), FakeClock()
    guard = make_guard(graph, clock, ttl=100, refresh_ahead=0.5)

    async def ask() -> None:
        assert (await guard.acheck(TOKEN)).is_valid

    with asyncio.Runner() as runner:
        runner.run(ask())
        clock.advance(60)
        no_more_threads(monkeypatch, 2)
        for _ in range(2):
            runner.run(ask())
            assert not guard._look_ups._refreshing
        runner.run(ask())  # there are threads again
        runner.run(until(lambda: len(graph.calls) == 2 and not guard._look_ups._refreshing))
        runner.run(guard.aclose())


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_is_meant_for_a_program_ends_neither_the_loop_nor_its_callers(kind, caplog):
    def fail() -> None:
        raise kind(TOKEN)

    async def work() -> None:
        fail()

    loop = background.loop()
    loop.call_soon_threadsafe(fail)
    with pytest.raises(background.BrokenOff) as caught:
        background.submit(work()).result(PATIENCE)
    assert caught.value.__context__ is None  # the other one's text may hold a token
    assert background.submit(where()).result(PATIENCE)[0] is loop
    assert [one.name for one in caplog.records] == ["fbguard"] * 2
    assert caplog.text.count(kind.__name__) == 2
    assert caplog.text.count("in fail") == 2
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_transport_that_ends_the_program_is_a_dont_know_for_those_who_wait(kind, caplog):
    graph = FakeGraph()
    graph.replies["ending"] = kind(1)
    with make_guard(graph) as guard, make_guard() as other:
        assert answer_of(lambda: guard.check("ending")) == "503 unavailable"
        assert answer_of(lambda: guard.check("next")) == "in"
        assert answer_of(lambda: other.check("another")) == "in"
        assert in_a_view(guard, "ending") == "503 unavailable"
    assert kind.__name__ in caplog.text


def in_a_view(guard: Guard, token: str, loop: asyncio.AbstractEventLoop | None = None) -> str:
    """Ask in an async view of a WSGI server, whose loop lives for one request."""

    async def view() -> str:
        carrier_of_request.set(wsgi_environ())
        try:
            await guard.acheck(token)
        except Refused as refused:
            return f"{refused.status} {refused.reason}"
        return "in"

    with asyncio.Runner(loop_factory=None if loop is None else lambda: loop) as runner:
        return runner.run(view(), context=contextvars.Context())


def test_an_async_view_below_wsgi_waits_no_longer_than_a_sync_one():
    """Although the loop that does its look-up stands still."""
    loop, still, go_on = MovableLoop(), threading.Event(), threading.Event()
    background.loop().call_soon_threadsafe(lambda: (still.set(), go_on.wait(PATIENCE)))
    assert still.wait(PATIENCE)
    try:
        with make_guard(deadline=3600) as guard, ThreadPoolExecutor(1) as pool:
            answer = pool.submit(in_a_view, guard, TOKEN, loop)
            wait_until(lambda: loop._scheduled)
            loop.advance(3601)
            assert answer.result(PATIENCE) == "503 unavailable"
            go_on.set()
    finally:
        go_on.set()


# -- forks ---------------------------------------------------------------------------------------------------


FORK = """
import os, threading
from fbguard.core import background
from tests.support import FakeGraph, make_guard

graph = FakeGraph()
guard = make_guard(graph)
assert guard.check("before").user_id == "1001"
loop, client = background.running(), next(iter(guard._look_ups._local._by_loop.values())).connection.client
# The worst moment for a fork: other threads hold every lock there is, and a look-up is in the air.
graph.gate.shut()
threading.Thread(target=lambda: guard.check("flying"), daemon=True).start()
graph.wait_for_calls(2)
guard._validator._cache._lock.acquire()
guard._look_ups._local._lock.acquire()
background._lock.acquire()
upstream = guard._validator._upstream
governor = upstream._governor
governor.throttled(4, 0.0)  # so that the breaker's lock is needed
inner = [governor._breaker, governor._pace, governor._slots, upstream._credentials]
for one in inner:
    one._lock.acquire()
pid = os.fork()
if pid == 0:
    status = 1
    try:
        graph.gate.__init__()
        assert background.running() is None
        assert guard.check("after").user_id == "1001"
        assert background.running() is not loop
        mine = next(iter(guard._look_ups._local._by_loop.values()))
        assert mine.connection.client is not client and len(mine.flights) == 0
        assert guard.check("flying").user_id == "1001"
        guard.close()
        status = 0
    finally:
        os._exit(status)
for one in inner:
    one._lock.release()
background._lock.release()
guard._look_ups._local._lock.release()
guard._validator._cache._lock.release()
_, status = os.waitpid(pid, 0)
graph.gate.open()
assert guard.check("parent").user_id == "1001"
assert background.running() is loop
guard.close()
print("child", os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_guard_is_used_before_and_after_a_fork():
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore:This process:DeprecationWarning",
            "-c",
            textwrap.dedent(FORK),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.stdout, done.stderr, done.returncode) == ("child 0\n", "", 0)
