"""The store in a file, used by several processes that are born, forked and killed."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fbguard import Guard, Refused
from fbguard.stores.sqlite import SQLiteStore
from tests.stores.battery import NEWS, Battery, World, keep, listening
from tests.stores.remote import ROOT, Other, Remote, SharedTime
from tests.support import NOW, PATIENCE, TOKEN, FakeClock, FakeGraph, hears, make_guard, wait_until

pytestmark = pytest.mark.usefixtures("quiet_asyncio")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
SIZE = 1000


@pytest.fixture(scope="module")
def other() -> Iterator[Other]:
    other = Other()
    yield other
    assert other.end() == 0


@pytest.fixture
def world(other, tmp_path) -> World:
    """One view from here and one from another process, in turns."""
    path, seconds = str(tmp_path / "store.db"), str(tmp_path / "time")
    Path(seconds).write_bytes(bytes(8))
    shared = SharedTime(seconds)
    shared.set(NOW)
    store = SQLiteStore(path, size=SIZE, time=shared)
    made = 0

    def make() -> Any:
        nonlocal made
        made += 1
        return store.space("one") if made % 2 else Remote(other, path, seconds, SIZE)

    return World(make, lambda delta: shared.set(shared() + delta), SIZE)


@pytest.mark.slow
class TestTwoProcesses(Battery):
    """Everything that any store must do, with half of it done elsewhere."""


def start(code: str, *args: object, **options: Any) -> subprocess.Popen[str]:
    """Run a script in a process of its own, where any warning is an error."""
    given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.PIPE}
    filters = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    return subprocess.Popen(
        [sys.executable, *filters, "-c", textwrap.dedent(code), *map(str, args)],
        text=True,
        cwd=ROOT,
        **(given | options),
    )


def done(process: subprocess.Popen[str]) -> str:
    """Return what it said, if it had nothing to complain about."""
    out, err = process.communicate(timeout=6 * PATIENCE)
    assert (err, process.returncode) == ("", 0)
    return out


def test_a_session_that_ends_is_heard_elsewhere_within_a_second(other, world):
    one, two = world.make(), world.make()

    async def main() -> None:
        took: list[float] = []
        async with listening(two) as listener:
            for number in range(5):
                news = b"%d" % number
                await one.bury("t", b"stone", ttl=100, news=news)
                began = time.monotonic()
                async with asyncio.timeout(PATIENCE):
                    while news not in listener.heard:
                        await asyncio.sleep(0.001)
                took.append(time.monotonic() - began)
            assert (await two.find("t")).stone == b"stone"
        assert min(took) < 1  # the machine may have been busy elsewhere, but not each time
        await one.aclose()
        await two.aclose()

    asyncio.run(main())


CROWD = """
import asyncio, sys
from fbguard.stores.protocol import Claim
from fbguard.stores.sqlite import SQLiteStore

async def main(path, me):
    space = SQLiteStore(path).space("one")
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(200):
        name = f"t{number}"
        found = await space.find(name, claim=Claim(me, 5.0))
        await space.keep(f"{me} {name}", b"fact", user=me, ttl=100, mark=found.mark)
        assert (await space.find(f"{me} {name}")).fact == b"fact"
        await space.bury(f"{me} {name}", b"stone", ttl=100, news=me.encode())
    await space.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
def test_four_processes_at_once(tmp_path):
    path = tmp_path / "store.db"
    space = SQLiteStore(path).space("one")
    crowd = [start(CROWD, path, me) for me in range(4)]
    for one in crowd:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in crowd:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    assert [done(one) for one in crowd] == [""] * 4

    async def main() -> None:
        for me in range(4):
            for number in range(200):
                found = await space.find(f"{me} t{number}")
                assert (found.fact, found.stone) == (None, b"stone")
        await space.aclose()

    asyncio.run(main())


WRITER = """
import asyncio, sys
from fbguard.stores.sqlite import SQLiteStore

async def main(path, me):
    space = SQLiteStore(path).space("one")
    number = 0
    while True:
        await space.bury(f"{me} {number}", b"stone", ttl=1000, news=b"%d" % number)
        print(number, flush=True)  # acknowledged
        found = await space.find(f"f{number}")
        await space.keep(f"{me} f{number}", b"x" * 2000, user=me, ttl=1000, mark=found.mark)
        number += 1

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
def test_writers_that_are_killed(tmp_path):
    """What they had been told is done is done, and the others go on."""
    path, dice = tmp_path / "store.db", random.Random(7)
    space = SQLiteStore(path).space("one")
    writers = [start(WRITER, path, me) for me in range(2)]
    acknowledged: dict[int, int] = {}

    async def check(me: int) -> None:
        assert await keep(space, "mine")  # waits less than a second for a lock, or is unavailable
        await space.bury("mine", b"stone", ttl=100, news=NEWS)
        for number in range(acknowledged[me] + 1):
            assert (await space.find(f"{me} {number}")).stone == b"stone"
        await space.aclose()

    for me in range(10):
        writer = writers.pop(0)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "0\n"
        time.sleep(dice.uniform(0, 0.05))  # anywhere in its work
        writer.kill()
        acknowledged[me] = max([0, *(int(line) for line in writer.communicate()[0].splitlines() if line)])
        if me < 8:
            writers.append(start(WRITER, path, me + 2))
        asyncio.run(check(me))
    assert sum(acknowledged.values()) > 10


# -- forks -----------------------------------------------------------------------------------------------

PRELUDE = """
import asyncio, ctypes, gc, os, sys, threading, time
from fbguard.core.errors import StoreUnavailable
from fbguard.stores.protocol import Claim
from fbguard.stores.sqlite import SQLiteStore

store = SQLiteStore(sys.argv[1])
space = store.space("one")

async def put(name):
    found = await space.find(name)
    assert await space.keep(name, b"fact", user="1", ttl=100, mark=found.mark)

async def has(*names):
    return [(await space.find(name)).fact is not None for name in names]

def ask(work):
    return asyncio.run(work)

def past_the_hooks():
    # A child hangs in the interpreter itself if another thread asked for its lock when it was born: so long
    # that interval, no thread asks, and those that have waited for it have had it.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)
    time.sleep(4 * interval)
    pid = ctypes.PyDLL(None).fork()
    sys.setswitchinterval(interval)
    return pid

def in_child(fork, work):
    pid = fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


@needs_fork
def test_a_store_is_used_before_and_after_a_fork(tmp_path):
    """Both sides go on, while another thread of the parent's writes and listens."""
    code = """
    ask(put("before"))
    over = threading.Event()
    started = threading.Event()

    async def busy():
        async def listen():
            async for _ in space.news():
                started.set()
        task = asyncio.create_task(listen())
        number = 0
        while not over.is_set():
            await space.bury(f"b{number}", b"stone", ttl=100, news=b"n")
            number += 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await space.aclose()
        return number

    thread = threading.Thread(target=lambda: ask(busy()))
    thread.start()
    started.wait(10)

    def child():
        assert ask(has("before", "after")) == [True, False]
        ask(put(f"child {os.getpid()}"))
        ask(space.aclose())
        for name in ("store", "space"):
            del globals()[name]
        gc.collect()

    codes = [in_child(os.fork, child) for _ in range(5)]
    ask(put("after"))
    over.set()
    thread.join(20)
    assert ask(has("before", "after")) == [True, True]
    ask(space.aclose())
    print(codes)
    """
    assert done(start(PRELUDE + textwrap.dedent(code), tmp_path / "store.db")) == "[0, 0, 0, 0, 0]\n"


@needs_fork
def test_a_child_does_not_drop_its_parents_locks(tmp_path):
    """While the file is open nobody gets it for himself, also when a child has come and gone."""
    code = """
    import subprocess
    loop = asyncio.new_event_loop()
    loop.run_until_complete(put("before"))

    def child():
        assert ask(has("before")) == [True]
        ask(space.aclose())

    GREEDY = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=0);"
    GREEDY += "db.execute('PRAGMA locking_mode=EXCLUSIVE'); db.execute('BEGIN EXCLUSIVE')"

    def is_locked():
        greedy = subprocess.run([sys.executable, "-c", GREEDY, sys.argv[1]], capture_output=True, text=True)
        return "locked" in greedy.stderr

    assert is_locked()
    assert in_child(os.fork, child) == 0
    loop.run_until_complete(has("before"))
    assert is_locked()
    loop.run_until_complete(space.aclose())
    loop.close()
    print("ok", is_locked())
    """
    assert done(start(PRELUDE + textwrap.dedent(code), tmp_path / "store.db")) == "ok False\n"


@needs_fork
@pytest.mark.parametrize("when", ["pauses", "has paused", "goes on"])
def test_a_signal_that_breaks_off_what_is_done_around_a_fork(tmp_path, when):
    """The interpreter forks all the same. Nothing stays locked, and the next fork is as any other."""
    code = """
    import signal
    from fbguard.stores.sqlite import link

    when, signals = sys.argv[2], [1]
    pause = link.Link.pause

    def alarm(*_):
        raise TimeoutError

    def strike():
        if signals:
            signals.clear()
            signal.raise_signal(signal.SIGALRM)

    def paused(self):
        if when == "pauses":
            strike()
        pause(self)
        if when == "has paused":
            strike()

    def trace(frame, *_):
        if when == "goes on" and frame.f_code is link._in_parent.__code__:
            strike()

    signal.signal(signal.SIGALRM, alarm)
    sys.unraisablehook = lambda _: None
    link.Link.pause = paused
    ask(put("before"))
    sys.settrace(trace)
    in_child(os.fork, lambda: None)
    sys.settrace(None)
    ask(put("after"))

    def child():
        assert ask(has("before", "after")) == [True, True]
        ask(space.aclose())

    print(signals, in_child(os.fork, child), ask(has("before", "after")))
    ask(space.aclose())
    """
    process = start(PRELUDE + textwrap.dedent(code), tmp_path / "store.db", when)
    assert done(process) == "[] 0 [True, True]\n"


@needs_fork
def test_a_fork_past_the_hooks_with_the_file_closed(tmp_path):
    code = """
    ask(put("before"))
    ask(space.aclose())

    def child():
        assert ask(has("before")) == [True]
        ask(put("child"))
        ask(space.aclose())

    print(in_child(past_the_hooks, child), ask(has("before", "child")))
    ask(space.aclose())
    """
    assert done(start(PRELUDE + textwrap.dedent(code), tmp_path / "store.db")) == "0 [True, True]\n"


@needs_fork
def test_a_fork_past_the_hooks_with_the_file_open(tmp_path):
    """The child has SQLite's books of its parent, and so is kept from the file; from a new one it is not."""
    code = """
    import logging
    logging.disable(logging.WARNING)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(put("before"))

    def child():
        again = SQLiteStore(sys.argv[2]).space("one")
        for one in (space, store.space("other")):
            try:
                ask(one.find("before"))
            except StoreUnavailable as exc:
                assert exc.__context__ is None
            else:
                raise AssertionError("a connection went through a fork")
        try:
            SQLiteStore(sys.argv[1])
        except ValueError:
            pass
        else:
            raise AssertionError("made in spite of it")
        ask(again.find("x"))
        ask(again.aclose())
        gc.collect()

    code = in_child(past_the_hooks, child)
    loop.run_until_complete(put("after"))
    print(code, loop.run_until_complete(has("before", "after")))
    loop.run_until_complete(space.aclose())
    loop.close()
    """
    path = tmp_path / "store.db"
    assert done(start(PRELUDE + textwrap.dedent(code), path, tmp_path / "two.db")) == "0 [True, True]\n"


# -- guards ----------------------------------------------------------------------------------------------


@pytest.fixture
def make(graph: FakeGraph, clock: FakeClock, tmp_path) -> Iterator[Callable[..., Guard]]:
    guards: list[Guard] = []

    def make() -> Guard:
        store = SQLiteStore(tmp_path / "store.db", time=clock.time)
        guards.append(make_guard(graph, clock, store=store))
        return guards[-1]

    yield make
    for guard in guards:
        guard.close()


def said(guard: Guard, token: str = TOKEN) -> str:
    try:
        guard.check(token)
    except Refused as refused:
        return refused.reason
    return "ok"


def test_guards_in_one_process(make, graph):
    one, other = make(), make()
    assert [said(one), said(other), said(make())] == ["ok"] * 3
    assert len(graph.calls) == 1
    hears(other)
    one.expire_session(TOKEN)
    wait_until(lambda: other.peek(TOKEN) is None)
    assert [said(one), said(other), said(make())] == ["session_invalidated"] * 3
    assert len(graph.calls) == 1


GUARD = """
import sys
from fbguard import Refused
from fbguard.stores.sqlite import SQLiteStore
from tests.stores.test_sqlite_processes import said
from tests.support import FakeClock, FakeGraph, TOKEN, hears, make_guard, wait_until

clock, graph = FakeClock(), FakeGraph()
with make_guard(graph, clock, store=SQLiteStore(sys.argv[1], time=clock.time)) as guard:
    said_first = said(guard)
    hears(guard)
    print(said_first, len(graph.calls), flush=True)
    sys.stdin.readline()
    wait_until(lambda: guard.peek(TOKEN) is None)
    print(said(guard), flush=True)
"""


def test_guards_in_two_processes(make, graph, tmp_path):
    guard = make()
    assert said(guard) == "ok"
    process = start(GUARD, tmp_path / "store.db")
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ok 0\n"
    guard.expire_session(TOKEN)
    process.stdin.write("\n")
    assert done(process) == "session_invalidated\n"
