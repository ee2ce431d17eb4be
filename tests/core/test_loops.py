"""What belongs to one loop of one process."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from fbguard.core.loop_lookups import LoopLookUps
from fbguard.core.loops import PerLoop, SharedTask, closing_with_loop
from fbguard.facebook.connection import Connection
from tests.support import PATIENCE


class Thing:
    """Refers to its loop, as an HTTP client does."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_abandoned = False

    def abandon(self) -> None:
        self.is_abandoned = True


async def here(things: PerLoop[Thing]) -> Thing:
    return things.here()


def test_one_per_loop():
    things = PerLoop(Thing)

    async def main() -> tuple[Thing, Thing]:
        return things.here(), await asyncio.create_task(here(things))

    one, again = asyncio.run(main())
    other = asyncio.run(here(things))
    assert one is again is not other


def test_a_loop_in_each_thread():
    things = PerLoop(Thing)
    barrier = threading.Barrier(8)
    found: list[Thing] = []

    async def main() -> None:
        found.append(things.here())
        await asyncio.to_thread(barrier.wait, PATIENCE)
        assert things.here().loop is asyncio.get_running_loop()
        assert len(things.loops()) == 8
        await asyncio.to_thread(barrier.wait, PATIENCE)

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(set(map(id, found))) == 8


def test_closed_loops_are_let_go():
    things = PerLoop(Thing)
    for _ in range(20):
        asyncio.run(here(things))
        gc.collect()
        assert len(things.loops()) <= 1


def test_take():
    things = PerLoop(Thing)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert things.take(loop) is None
        mine = things.here()
        assert things.loops() == [loop]
        assert things.take(loop) is mine
        assert things.take(loop) is None
        assert things.here() is not mine

    asyncio.run(main())


def test_a_forked_child_starts_anew():
    things = PerLoop(Thing)

    async def main() -> None:
        mine = things.here()
        await asyncio.to_thread(things._lock.acquire)  # a thread that the child has not
        things.begin_anew()
        assert mine.is_abandoned
        assert things.loops() == []
        assert things.here() is not mine

    asyncio.run(main())


def test_a_fork_leaves_the_connections_of_the_parent_alone():
    done = subprocess.run(
        # Newer Pythons warn of every fork beside threads; that it goes well is what is tested here.
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", textwrap.dedent(FORK)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.stdout.split(), done.stderr) == (["parent"] * 3, "")


FORK = """
    import atexit, gc, os, time
    from fbguard import Guard
    from fbguard.sandbox import Sandbox

    sandbox = Sandbox()
    with sandbox.serve() as url:
        guard = Guard(app_id=sandbox.app_id, app_secret=sandbox.app_secret, graph_url=url, deadline=1.0)
        for child_asks in (None, False, True):
            token = sandbox.issue_token()  # here: in the child the sandbox may be locked for ever
            if child_asks is not None and os.fork() == 0:
                if child_asks:
                    guard.check(token)
                gc.collect()
                atexit._run_exitfuncs()
                os._exit(0)
            if child_asks is not None:
                os.wait()
            guard.check(sandbox.issue_token())  # on the connection that was open before the fork
            print("parent", flush=True)
        guard.close()
"""


def test_what_is_collected_while_one_is_made_may_close_its_own():
    """A collection can come anywhere: there, too, a guard may end that has left things on loops."""
    made: list[Thing] = []

    def make() -> Thing:
        made.append(Thing())
        assert things.take(asyncio.get_running_loop()) is None
        assert things.loops() == []
        return made[-1]

    things = PerLoop(make)
    thread = threading.Thread(target=asyncio.run, args=(here(things),), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert len(things.loops()) == 1


def test_a_fork_while_look_ups_are_being_closed():
    """In the parent the runner of another thread is ending; the child lets go of what is in the middle."""
    client = Closing()

    async def main() -> None:
        local = LoopLookUps(Connection(client, None), 1.0)
        closing = asyncio.create_task(local.aclose())
        await client.begun.wait()
        local.abandon()  # as in a child
        assert client.is_abandoned
        client.ended.set()
        await closing

    asyncio.run(main())


class Closing:
    """A client that takes its time to say good-bye."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()
        self.is_abandoned = False

    async def aclose(self) -> None:
        self.begun.set()
        await self.ended.wait()

    def abandon(self) -> None:
        self.is_abandoned = True


def test_no_loop_is_running():
    with pytest.raises(RuntimeError, match="running event loop"):
        PerLoop(Thing).here()


@pytest.mark.parametrize("explicitly", [True, False])
def test_what_nobody_closes_is_closed_with_its_loop(explicitly):
    closed = []

    async def close() -> None:
        closed.append(asyncio.get_running_loop())

    async def main() -> None:
        kept.append(closing_with_loop(close))
        await asyncio.sleep(0)
        assert closed == []
        if explicitly:
            await kept[0].aclose()
            assert len(closed) == 1

    kept = []
    asyncio.run(main())
    assert len(closed) == 1
    gc.collect()
    assert len(closed) == 1


# -- work that several wait for -----------------------------------------------------------------------------


def test_shared_work_is_done_once_at_a_time():
    async def main() -> None:
        shared, begun, gate = SharedTask(), 0, asyncio.Event()

        async def work() -> None:
            nonlocal begun
            begun += 1
            await gate.wait()

        waiting = [asyncio.create_task(shared.shared(work)) for _ in range(5)]
        await asyncio.sleep(0)
        assert shared.is_under_way
        waiting[0].cancel()  # who leaves does not end it for the others
        await asyncio.sleep(0)
        gate.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert outcomes[1:] == [None] * 4
        assert (begun, shared.is_under_way) == (1, False)
        await shared.shared(work)
        assert begun == 2

    asyncio.run(main())


def test_shared_work_that_is_ended_before_its_first_step_may_begin_anew():
    async def main() -> None:
        shared, done = SharedTask(), []

        async def work() -> None:
            done.append(True)

        first = asyncio.create_task(shared.shared(work))
        await asyncio.sleep(0)  # it has made the task, which has not run
        await shared.aclose()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (done, shared.is_under_way) == ([], False)
        await shared.shared(work)
        assert done == [True]

    asyncio.run(main())
