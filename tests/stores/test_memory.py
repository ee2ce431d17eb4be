"""The store in this process, by the battery that any store must pass."""

from __future__ import annotations

import asyncio
import gc

import pytest

from fbguard.stores.memory import MemoryStore
from tests.stores.battery import NEWS, Battery, World, keep, known, listening

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

SIZE = 2000


@pytest.fixture
def world(clock) -> World:
    store = MemoryStore(size=SIZE, time=clock.time)
    return World(lambda: store, clock.advance, SIZE)


class TestMemoryStore(Battery):
    """Everything that any store must do."""


@pytest.fixture
def store(clock) -> MemoryStore:
    return MemoryStore(size=3, time=clock.time)


def test_the_oldest_go_first_and_leave_the_index(store):
    async def main() -> None:
        for number in range(5):
            await keep(store, f"t{number}", user=str(number))
        assert await known(store, *(f"t{number}" for number in range(5))) == [False] * 2 + [True] * 3
        assert set(store._names_of) == {"2", "3", "4"}
        await keep(store, "t2", user="2")  # again: now it is the youngest
        await keep(store, "t5", user="5")
        assert await known(store, "t2", "t3") == [True, False]

    asyncio.run(main())


def test_the_index_is_empty_when_there_are_no_facts(store):
    async def main() -> None:
        for user in ("1", "", "ü"):
            await keep(store, "a", user=user)
            await keep(store, "a", user=user)
            await store.forget("a", news=NEWS)
            await keep(store, "b", user=user)
            await store.bury("b", b"stone", ttl=1, news=NEWS)
            await keep(store, "c", user=user)
            await store.forget_user(user, news=NEWS)
            await keep(store, "d", user=user)
            await store.bury_user(user, b"stone", at=5, ttl=1, news=NEWS)
        assert store._names_of == {}

    asyncio.run(main())


def test_tombstones_of_each_kind_are_bounded(store):
    async def main() -> None:
        for number in range(5):
            await store.bury(f"{number}", b"stone", ttl=10, news=NEWS)
            await store.bury_user(f"{number}", b"stone", at=5, ttl=10, news=NEWS)
        assert [(await store.find(str(number))).stone for number in range(5)] == [None] * 2 + [b"stone"] * 3
        assert [await store.stone_of_user(str(number)) for number in range(5)] == [None] * 2 + [b"stone"] * 3

    asyncio.run(main())


def test_a_loop_that_ended_while_it_listened_hinders_nobody(store):
    """It took its listener with it, without a word."""
    loop = asyncio.new_event_loop()
    news = store.news()

    async def first() -> None:
        waiting = asyncio.ensure_future(anext(news))
        await asyncio.sleep(0)
        waiting.cancel()

    loop.run_until_complete(first())
    loop.close()

    async def main() -> None:
        async with listening(store) as listener:
            await store.forget("t", news=b"later")
            await listener.settle(store)
            assert listener.heard == [b"later"]

    asyncio.run(main())
    assert not store._listeners
    gc.collect()
