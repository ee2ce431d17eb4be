"""What belongs to one loop of one process."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from fbguard.core.loops import PerLoop, closing_with_loop
from tests.support import PATIENCE


class Thing:
    """Refers to its loop, as an HTTP client does."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()


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


def test_another_process_starts_anew(monkeypatch):
    things = PerLoop(Thing)

    async def main() -> None:
        mine = things.here()
        things._lock.acquire()  # as if a thread had held it when the process was forked
        monkeypatch.setattr("os.getpid", lambda: -1)
        assert things.loops() == []
        assert things.here() is not mine

    asyncio.run(main())


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
