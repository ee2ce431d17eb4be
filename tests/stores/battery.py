"""What any store must do. A store's own tests are a subclass of :class:`Battery` and a fixture ``world``."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from fbguard.stores.protocol import Claim, Found, Grave, Space
from tests.support import PATIENCE

NEWS = b"news"
NAMES = ["t", "", "ü€\U0001f511", "a" * 200, "a b", "a:b", "user 1", "token t", "%s*?[x]", "\x00", "\n", "1"]
VALUES = [b"", b"\x00", b"\xff\xfe", "ü€".encode(), b"x" * 60_000, b"\r\n$-1\r\n", b"null"]


@dataclass
class World:
    """How a store is made: ``make()`` gives another view of the same data, as another process has it.

    ``advance(seconds)`` lets the store's time go by; ``size`` is the number of facts that it keeps, None for
    as many as it likes.
    """

    make: Callable[[], Space]
    advance: Callable[[float], None]
    size: int | None = None


@asynccontextmanager
async def opened(world: World, count: int = 1) -> AsyncIterator[list[Space]]:
    stores = [world.make() for _ in range(count)]
    try:
        yield stores
    finally:
        for store in stores:
            await store.aclose()


class Listening:
    """Somebody who hears a store's news, as a task of the running loop."""

    def __init__(self, store: Space) -> None:
        self.heard: list[bytes] = []
        self._news: AsyncIterator[bytes] = store.news()
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for one in self._news:
            self.heard.append(one)

    async def start(self, store: Space) -> None:
        """Return when it hears: "from now on" is said by nobody."""
        async with asyncio.timeout(PATIENCE):
            while not self.heard:
                await store.forget("nobody's", news=b"ready?")
                await asyncio.sleep(0.001)
            await self.settle(store)
        self.heard.clear()

    async def settle(self, store: Space) -> None:
        """Return when everything that was said before is heard."""
        last = b"last %d" % random.getrandbits(64)
        await store.forget("nobody's", news=last)
        async with asyncio.timeout(PATIENCE):
            while last not in self.heard:
                await asyncio.sleep(0.001)
        self.heard.remove(last)

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if isinstance(self._news, AsyncGenerator):
            await self._news.aclose()


@asynccontextmanager
async def listening(store: Space) -> AsyncIterator[Listening]:
    listener = Listening(store)
    try:
        await listener.start(store)
        yield listener
    finally:
        await listener.stop()


async def keep(store: Space, name: str, fact: bytes = b"fact", **changes: Any) -> bool:
    """Find and keep, as a look-up does."""
    given: dict[str, Any] = {"user": "1", "ttl": 100.0, "mark": (await store.find(name)).mark} | changes
    return await store.keep(name, fact, **given)


async def known(store: Space, *names: str) -> list[bool]:
    return [(await store.find(name)).fact is not None for name in names]


class Battery:
    """Every test has one loop to itself; ``world`` is a fixture of the subclass."""

    @pytest.fixture
    def run(self, world: World) -> Callable[..., None]:
        """Give ``run(test)``: calls ``test(store, same store seen by somebody else, world)``."""

        def call(test: Callable[[Space, Space, World], Any]) -> None:
            async def main() -> None:
                async with opened(world, 2) as (one, two):
                    await test(one, two, world)

            asyncio.run(main())

        return call

    # -- facts ------------------------------------------------------------------------

    def test_nothing_is_known_of_a_name(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            for name in NAMES:
                found = await one.find(name)
                assert isinstance(found, Found)
                assert (found.fact, found.stone) == (None, None)
                assert await one.stone_of_user(name) is None

        run(test)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("user", [*NAMES[:4], None])
    def test_names_and_users_are_opaque(self, run, name, user):
        async def test(one: Space, two: Space, world: World) -> None:
            assert await keep(one, name, b"fact", user=user)
            assert (await two.find(name)).fact == b"fact"
            assert await known(two, *NAMES) == [other == name for other in NAMES]
            if user is not None:
                await two.forget_user(user, news=NEWS)
                assert await known(one, name) == [False]
            assert await keep(one, name, b"again", user=user)
            await two.bury(name, b"stone", ttl=10, news=NEWS)
            found = await one.find(name)
            assert (found.fact, found.stone) == (None, b"stone")
            assert [(await one.find(other)).stone for other in NAMES if other != name] == [None] * (
                len(NAMES) - 1
            )

        run(test)

    @pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
    def test_values_are_opaque(self, run, value):
        async def test(one: Space, two: Space, world: World) -> None:
            async with listening(two) as listener:
                assert await keep(one, "t", value)
                assert (await two.find("t")).fact == value
                assert list(await one.bury_user("1", value, at=5, ttl=10, news=value)) == [("t", value)]
                assert await two.stone_of_user("1") == value
                await one.bury("t", value, ttl=10, news=value)
                assert (await two.find("t")).stone == value
                await listener.settle(one)
                assert listener.heard == [value, value]

        run(test)

    def test_the_last_fact_counts(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            for store, fact in ((one, b"1"), (two, b"2"), (one, b"3")):
                assert await keep(store, "t", fact)
            assert (await two.find("t")).fact == b"3"

        run(test)

    def test_a_fact_ends(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            await keep(one, "t", ttl=100.0)
            await keep(one, "short", ttl=0.5)
            world.advance(0.75)
            assert await known(two, "t", "short") == [True, False]
            world.advance(99)
            assert await known(two, "t") == [True]
            await keep(one, "t", ttl=100.0)  # it has its own time
            world.advance(99)
            assert await known(two, "t") == [True]
            world.advance(2)
            assert await known(two, "t") == [False]

        run(test)

    def test_tombstones_end(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            await one.bury("t", b"stone", ttl=100, news=NEWS)
            await one.bury_user("1", b"stone", at=5, ttl=100, news=NEWS)
            world.advance(99)
            assert ((await two.find("t")).stone, await two.stone_of_user("1")) == (b"stone", b"stone")
            world.advance(2)
            assert ((await two.find("t")).stone, await two.stone_of_user("1")) == (None, None)

        run(test)

    # -- claims: one look-up for all ------------------------------------------------------------------------

    def test_of_several_that_find_nothing_one_may_ask(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            first, second = Claim("1", 10.0), Claim("2", 10.0)
            assert (await one.find("t")).is_claimed is None
            assert (await one.find("t", claim=first)).is_claimed is True
            assert (await two.find("t", claim=second)).is_claimed is False
            assert (await one.find("t", claim=first)).is_claimed is True  # again: his answer was lost
            assert (await two.find("other", claim=second)).is_claimed is True
            assert (await two.find("t")).is_claimed is None

        run(test)

    def test_a_claim_ends_with_the_fact(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            mark = (await one.find("t", claim=Claim("1", 10.0))).mark
            assert await one.keep("t", b"fact", user="1", ttl=5, mark=mark)
            assert await two.find("t", claim=Claim("2", 10.0)) == Found(b"fact", None, None, mark, None)
            world.advance(6)
            assert (await two.find("t", claim=Claim("2", 10.0))).is_claimed is True

        run(test)

    def test_a_claim_ends_with_an_answer_that_came_too_late(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            mark = (await one.find("t", claim=Claim("1", 10.0))).mark
            await two.forget("t", news=NEWS)
            assert not await one.keep("t", b"fact", user="1", ttl=5, mark=mark)
            assert (await two.find("t", claim=Claim("2", 10.0))).is_claimed is True

        run(test)

    def test_a_claim_is_released_by_its_holder(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            await one.find("t", claim=Claim("1", 10.0))
            await two.release("t", "2")
            await two.release("nobody's", "2")
            assert (await two.find("t", claim=Claim("2", 10.0))).is_claimed is False
            await one.release("t", "1")
            assert (await two.find("t", claim=Claim("2", 10.0))).is_claimed is True

        run(test)

    def test_a_claim_ends_by_itself(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            await one.find("t", claim=Claim("1", 100.0))
            world.advance(90)
            assert (await two.find("t", claim=Claim("2", 100.0))).is_claimed is False
            world.advance(11)
            assert (await two.find("t", claim=Claim("2", 100.0))).is_claimed is True
            assert (await one.find("t", claim=Claim("1", 100.0))).is_claimed is False

        run(test)

    def test_nobody_claims_what_was_ended(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            await one.bury("t", b"stone", ttl=100, news=NEWS)
            assert (await two.find("t", claim=Claim("2", 1.0))).is_claimed is None

        run(test)

    def test_of_many_at_once_one_may_ask(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            found = await asyncio.gather(
                *((one, two)[n % 2].find("t", claim=Claim(str(n), 10.0)) for n in range(50))
            )
            assert sum(bool(one.is_claimed) for one in found) == 1

        run(test)

    # -- what ends ------------------------------------------------------------------------

    def test_bury_takes_one_token(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            await keep(one, "t")
            await keep(one, "other")
            await two.bury("t", b"stone", ttl=10, news=NEWS)
            found = await one.find("t")
            assert (found.fact, found.stone) == (None, b"stone")
            assert await known(one, "other") == [True]
            assert list(await one.bury_user("1", b"s", at=5, ttl=10, news=NEWS)) == [("other", b"fact")]

        run(test)

    def test_a_fact_comes_with_the_tombstone_of_its_user(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            await one.bury_user("1", b"stone", at=5, ttl=10, news=NEWS)
            await one.bury_user("2", b"other", at=5, ttl=10, news=NEWS)
            for name, user in (("a", "1"), ("b", "2"), ("c", "3"), ("d", None)):
                await keep(two, name, user=user)
            assert [(await one.find(name)).user_stone for name in "abcd"] == [b"stone", b"other", None, None]
            await keep(two, "a", user="3")
            assert (await one.find("a")).user_stone is None

        run(test)

    def test_bury_all_takes_each(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            for name in "abc":
                await keep(one, name)
            mark = (await one.find("a")).mark
            await two.bury_all([Grave("a", b"1", 10), Grave("b", b"2", 10), Grave("new", b"3", 20)])
            await two.bury_all([])
            found = [await one.find(name) for name in ("a", "b", "c", "new")]
            assert [(one.fact, one.stone) for one in found] == [
                (None, b"1"), (None, b"2"), (b"fact", None), (None, b"3")
            ]  # fmt: skip
            assert not await one.keep("a", b"old", user="1", ttl=100, mark=mark)
            assert list(await one.bury_user("1", b"s", at=5, ttl=10, news=NEWS)) == [("c", b"fact")]
            world.advance(11)
            assert [(await one.find(name)).stone for name in ("a", "new")] == [None, b"3"]

        run(test)

    def test_a_tombstone_lasts_as_long_as_the_one_before_would_have(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            await one.bury("a", b"long", ttl=100, news=NEWS)
            await two.bury("a", b"short", ttl=10, news=NEWS)
            await two.bury_all([Grave("b", b"short", 10), Grave("b", b"long", 100), Grave("b", b"last", 10)])
            world.advance(50)
            assert [(await one.find(name)).stone for name in "ab"] == [b"short", b"last"]
            await one.bury("a", b"longer", ttl=100, news=NEWS)
            world.advance(60)
            assert [(await one.find(name)).stone for name in "ab"] == [b"longer", None]

        run(test)

    def test_a_token_that_ended_under_another_name(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            await keep(one, "fact")
            found = await two.find("fact", ends=["end", "old end"])
            assert (found.fact, found.ends) == (b"fact", (None, None))
            await two.bury("old end", b"stone", ttl=10, news=NEWS)
            found = await one.find("fact", ends=["end", "old end"])
            assert (found.fact, found.stone, found.ends) == (b"fact", None, (None, b"stone"))
            assert (await one.find("fact")).ends == ()
            world.advance(11)
            assert (await one.find("fact", ends=["old end"])).ends == (None,)

        run(test)

    def test_nobody_claims_what_ended_under_another_name(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            await one.bury("end", b"stone", ttl=100, news=NEWS)
            found = await two.find("t", ends=["no end", "end"], claim=Claim("2", 1.0))
            assert (found.is_claimed, found.ends) == (None, (None, b"stone"))
            assert (await one.find("t", ends=["no end"], claim=Claim("1", 1.0))).is_claimed is True

        run(test)

    def test_what_ended_under_another_name_is_not_kept(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            found = await one.find("t", ends=["end", "other"])
            await two.bury("end", b"stone", ttl=10, news=NEWS)
            given: dict[str, Any] = {"user": "1", "ttl": 100.0, "mark": found.mark}
            for ends in (["end"], ["other", "end"], ["end", "other"]):
                assert not await one.keep("t", b"fact", ends=ends, **given)
                assert await known(one, "t") == [False]
            assert await one.keep("t", b"fact", ends=["other"], **given)

        run(test)

    def test_bury_takes_the_facts_of_other_names_along(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            for name in "abc":
                await keep(one, name)
            await two.bury("end", b"stone", ttl=10, news=NEWS, facts=["a", "b", "none"])
            assert await known(one, "a", "b", "c") == [False, False, True]
            assert (await one.find("a")).stone is None
            assert list(await one.bury_user("1", b"s", at=5, ttl=10, news=NEWS)) == [("c", b"fact")]

        run(test)

    def test_bury_says_how_many_have_heard_of_it(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            heard = await one.bury("t", b"stone", ttl=10, news=NEWS)
            assert heard in {0, None}
            async with listening(two):
                heard = await one.bury("t", b"stone", ttl=10, news=NEWS)
                assert heard in {1, None}

        run(test)

    def test_it_is_the_same_space_for_all(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            first = await one.origin()
            await one.bury("t", b"stone", ttl=10, news=NEWS)
            assert [await two.origin(), await one.origin()] == [first, first]

        run(test)

    def test_bury_user_takes_all_and_says_what_it_took(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            for name, user in (("a", "1"), ("b", "1"), ("c", "2"), ("d", None), ("e", "11")):
                await keep(one, name, name.encode(), user=user)
            dropped = await two.bury_user("1", b"stone", at=5, ttl=10, news=NEWS)
            assert sorted(dropped) == [("a", b"a"), ("b", b"b")]
            assert await known(one, *"abcde") == [False, False, True, True, True]
            assert [(await one.find(name)).stone for name in "abcde"] == [None] * 5
            assert [await one.stone_of_user(user) for user in ("1", "2", "11")] == [b"stone", None, None]
            assert list(await two.bury_user("1", b"stone", at=6, ttl=10, news=NEWS)) == []

        run(test)

    @pytest.mark.parametrize("order", [(5.0, 7.0, 6.0), (7.0, 5.0, 6.0), (5.0, 6.0, 7.0), (7.25, 7.0, 7.125)])
    def test_of_a_users_tombstones_the_latest_event_counts(self, run, order):
        async def test(one: Space, two: Space, world: World) -> None:
            for number, at in enumerate(order):
                store = (one, two)[number % 2]
                await keep(store, f"t{number}")
                dropped = await store.bury_user("1", str(at).encode(), at=at, ttl=100, news=NEWS)
                assert [name for name, _ in dropped] == [f"t{number}"]  # an old event takes the facts, too
            assert await one.stone_of_user("1") == str(max(order)).encode()

        run(test)

    def test_an_event_after_one_that_is_over(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            await one.bury_user("1", b"late", at=9, ttl=10, news=NEWS)
            world.advance(11)
            await two.bury_user("1", b"early", at=5, ttl=10, news=NEWS)
            assert await one.stone_of_user("1") == b"early"

        run(test)

    def test_forget_and_forget_user(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            for name, user in (("a", "1"), ("b", "1"), ("c", "1"), ("d", "2")):
                await keep(one, name, user=user)
            await two.forget("a", news=NEWS)
            assert await known(one, *"abcd") == [False, True, True, True]
            await two.forget_user("1", news=NEWS)
            assert await known(one, *"abcd") == [False, False, False, True]
            await two.forget("nobody's", news=NEWS)
            await two.forget_user("nobody", news=NEWS)
            assert await keep(one, "a")

        run(test)

    def test_forgetting_digs_nothing_up(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            await one.bury("t", b"stone", ttl=10, news=NEWS)
            await one.bury_user("1", b"stone", at=5, ttl=10, news=NEWS)
            await two.forget("t", news=NEWS)
            await two.forget_user("1", news=NEWS)
            assert ((await one.find("t")).stone, await one.stone_of_user("1")) == (b"stone", b"stone")

        run(test)

    def test_the_index_follows_a_token_that_changes_its_user(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            await keep(one, "t", user="1")
            await keep(two, "t", user="2")
            await one.forget_user("1", news=NEWS)
            assert await known(one, "t") == [True]
            await keep(two, "t", user=None)
            await one.forget_user("2", news=NEWS)
            assert await known(one, "t") == [True]
            await keep(two, "t", user="1")
            assert list(await one.bury_user("1", b"s", at=5, ttl=10, news=NEWS)) == [("t", b"fact")]

        run(test)

    # -- marks: what comes too late ------------------------------------------------------------------------

    @pytest.mark.parametrize("how", ["bury", "bury_user", "forget", "forget_user"])
    def test_an_answer_from_before_is_not_kept(self, run, how):
        async def test(one: Space, two: Space, world: World) -> None:
            await keep(one, "t", b"first")
            mark = (await one.find("t")).mark
            other = (await one.find("other")).mark
            await _touch(two, how, "t", "1")
            assert not await one.keep("t", b"old", user="1", ttl=100, mark=mark)
            assert await known(two, "t") == [False]
            touches_user = how.endswith("user")
            assert await one.keep("other", b"x", user="1", ttl=100, mark=other) != touches_user
            assert await one.keep("third", b"x", user="2", ttl=100, mark=other)
            assert await one.keep("fourth", b"x", user=None, ttl=100, mark=other)
            assert await keep(one, "t", b"new")  # with a mark of its own
            assert (await two.find("t")).fact == b"new"

        run(test)

    def test_what_comes_too_late_leaves_what_is_there(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            mark = (await one.find("t")).mark
            await two.forget("t", news=NEWS)
            await keep(two, "t", b"new")
            assert not await one.keep("t", b"old", user="1", ttl=100, mark=mark)
            assert (await one.find("t")).fact == b"new"

        run(test)

    def test_a_name_is_no_user(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            mark = (await one.find("a")).mark
            await two.forget("1", news=NEWS)
            await two.forget_user("a", news=NEWS)
            assert await one.keep("a", b"x", user="1", ttl=100, mark=mark)

        run(test)

    def test_marks_grow(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            marks = []
            for number, how in enumerate(["bury", "forget", "bury_user", "forget_user"] * 3):
                await _touch((one, two)[number % 2], how, "t", "1")
                marks.append((await (two, one)[number % 2].find("any")).mark)
            assert marks == sorted(set(marks))

        run(test)

    # -- news ------------------------------------------------------------------------

    def test_news_come_in_order_to_everybody(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            async with listening(one) as first, listening(two) as second:
                first.heard.clear()  # of the other's start
                said = [str(number).encode() for number in range(200)]
                for number, news in enumerate(said):
                    how = ["bury", "forget", "bury_user", "forget_user"][number % 4]
                    await _touch(one, how, "t", "1", news)
                for listener in (first, second):
                    await listener.settle(one)
                    assert [news for news in listener.heard if not news.startswith(b"last")] == said

        run(test)

    def test_the_effect_is_there_before_its_news(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            async with listening(two) as listener:
                for number in range(20):
                    name = f"t{number}"
                    await keep(one, name)
                    task = asyncio.create_task(one.bury(name, b"stone", ttl=10, news=name.encode()))
                    async with asyncio.timeout(PATIENCE):
                        while name.encode() not in listener.heard:
                            await asyncio.sleep(0)
                    found = await two.find(name)
                    assert (found.fact, found.stone) == (None, b"stone")
                    await task

        run(test)

    def test_who_leaves_hears_no_more_and_hinders_nobody(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            async with listening(one) as left:
                pass
            async with listening(two) as stays:
                await one.forget("t", news=b"later")
                await stays.settle(one)
                assert (left.heard, stays.heard) == ([], [b"later"])

        run(test)

    def test_news_from_several_loops_and_threads(self, world):
        """Each writer's own come in its order, none twice and none lost."""
        writers, count = 4, 50
        started = threading.Barrier(writers + 2)
        faults: list[BaseException] = []
        heard: list[list[bytes]] = []

        async def write(number: int) -> None:
            async with opened(world) as (store,):
                await asyncio.to_thread(started.wait, PATIENCE)
                for step in range(count):
                    await store.forget(f"{number}", news=b"%d %d" % (number, step))

        async def hear() -> None:
            async with opened(world) as (store,), listening(store) as listener:
                await asyncio.to_thread(started.wait, PATIENCE)
                async with asyncio.timeout(PATIENCE):
                    while sum(b" " in one and one[:1].isdigit() for one in listener.heard) < writers * count:
                        await asyncio.sleep(0.001)
                heard.append(list(listener.heard))

        _in_threads([*(lambda number=number: write(number) for number in range(writers)), hear, hear], faults)
        assert faults == []
        for one in heard:
            for number in range(writers):
                mine = [news for news in one if news.startswith(b"%d " % number)]
                assert mine == [b"%d %d" % (number, step) for step in range(count)]

    # -- many at once ------------------------------------------------------------------------

    def test_nobody_resurrects_what_ended(self, world):
        """Look-ups of one user's tokens in several threads, while sessions end: nothing is left."""
        over = threading.Event()
        faults: list[BaseException] = []
        started = threading.Barrier(5)

        async def look_up(seed: int) -> None:
            dice = random.Random(seed)
            async with opened(world) as (store,):
                await asyncio.to_thread(started.wait, PATIENCE)
                while not over.is_set():
                    name = f"t{dice.randrange(10)}"
                    found = await store.find(name)
                    if found.stone is not None:
                        assert found.fact is None, "a fact beside a tombstone that came later"
                        continue
                    await asyncio.sleep(0)
                    await store.keep(name, b"fact", user="1", ttl=100, mark=found.mark)

        async def end() -> None:
            async with opened(world) as (store,):
                await asyncio.to_thread(started.wait, PATIENCE)
                try:
                    for number in range(10):
                        await store.bury(f"t{number}", b"stone", ttl=100, news=NEWS)
                        assert not any(await known(store, *(f"t{n}" for n in range(number + 1))))
                finally:
                    over.set()

        _in_threads([*(lambda seed=seed: look_up(seed) for seed in range(4)), end], faults)
        assert faults == []

        async def check() -> None:
            async with opened(world) as (store,):
                assert not any(await known(store, *(f"t{number}" for number in range(10))))
                assert list(await store.bury_user("1", b"s", at=5, ttl=10, news=NEWS)) == []

        asyncio.run(check())

    def test_many_tasks(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            async def work(number: int) -> None:
                store, name = (one, two)[number % 2], f"t{number}"
                assert await keep(store, name, name.encode(), user=str(number % 5))
                assert (await store.find(name)).fact == name.encode()

            await asyncio.gather(*map(work, range(100)))
            for user in range(5):
                dropped = await one.bury_user(str(user), b"s", at=5, ttl=10, news=NEWS)
                assert sorted(dropped) == sorted(
                    (f"t{number}", f"t{number}".encode()) for number in range(user, 100, 5)
                )

        run(test)

    def test_a_user_of_a_thousand_tokens(self, run):
        async def test(one: Space, two: Space, world: World) -> None:
            for number in range(1000):
                await keep(one, f"t{number}", b"%d" % number)
            dropped = await two.bury_user("1", b"stone", at=5, ttl=10, news=NEWS)
            assert len(set(dropped)) == 1000
            assert not any(await known(one, *(f"t{number}" for number in range(0, 1000, 50))))

        run(test)

    def test_the_number_of_facts_is_bounded(self, run, world):
        size = world.size
        assert size is not None, "a store that keeps as many as it has room for leaves this test out"

        async def test(one: Space, two: Space, world: World) -> None:
            await one.bury("first", b"stone", ttl=100, news=NEWS)
            for number in range(2 * size):
                await keep(one, f"t{number}", user=str(number))
            kept = await known(two, *(f"t{number}" for number in range(2 * size)))
            assert sum(kept) <= size
            assert kept[-1]
            assert (await one.find("first")).stone == b"stone"  # facts push no tombstone out

        run(test)

    def test_closing_twice_and_using_it_on_another_loop(self, world):
        store = world.make()

        async def use(name: str) -> None:
            assert await keep(store, name)
            assert await known(store, name) == [True]
            await store.aclose()
            await store.aclose()

        asyncio.run(use("a"))
        asyncio.run(use("b"))


async def _touch(store: Space, how: str, name: str, user: str, news: bytes = NEWS) -> None:
    match how:
        case "bury":
            await store.bury(name, b"stone", ttl=10, news=news)
        case "bury_user":
            await store.bury_user(user, b"stone", at=5, ttl=10, news=news)
        case "forget":
            await store.forget(name, news=news)
        case _:
            await store.forget_user(user, news=news)


def _in_threads(works: list[Callable[[], Any]], faults: list[BaseException]) -> None:
    def call(work: Callable[[], Any]) -> None:
        try:
            asyncio.run(work())
        except BaseException as exc:
            faults.append(exc)

    threads = [threading.Thread(target=call, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * PATIENCE)
        assert not thread.is_alive()
