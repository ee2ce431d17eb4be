"""The guard's own loop, and what a fork leaves of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fbguard.core import background
from tests.support import PATIENCE


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
