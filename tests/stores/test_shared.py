"""Guards that share a store: one look-up for all, one end for all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from fbguard import Guard, Refused
from fbguard.core.errors import StoreUnavailable
from fbguard.stores import shared
from fbguard.stores.memory import MemoryStore
from tests.support import NOW, TOKEN, FakeClock, FakeGraph, dead, make_guard, valid, wait_until

USER = "1001"
pytestmark = pytest.mark.usefixtures("quiet_asyncio")


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(time=clock.time)


@pytest.fixture
def make(graph: FakeGraph, clock: FakeClock, store: MemoryStore) -> Iterator[Callable[..., Guard]]:
    guards: list[Guard] = []

    def make(**options: Any) -> Guard:
        guards.append(make_guard(graph, clock, **({"store": store} | options)))
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


def test_one_look_up_for_all(make, graph, clock):
    one, other = make(), make()
    assert [said(one), said(other), said(make())] == ["ok"] * 3
    assert len(graph.calls) == 1
    clock.advance(299)
    assert said(make()) == "ok"
    assert len(graph.calls) == 1
    clock.advance(1)  # by the time at which Graph said it, not at which others heard
    assert said(other) == "ok"
    assert len(graph.calls) == 2


def test_a_no_is_shared_too(make, graph):
    graph.default = dead(190, 463)
    assert [said(make()), said(make())] == ["expired"] * 2
    assert len(graph.calls) == 1


def test_another_app_shares_nothing(make, graph):
    assert said(make()) == "ok"
    graph.default = valid(app_id="42")
    assert said(make(app_id="42")) == "ok"
    assert len(graph.calls) == 2


def test_a_session_that_ends_ends_everywhere(make, graph):
    one, other = make(), make()
    assert [said(one), said(other)] == ["ok"] * 2
    one.expire_session(TOKEN)
    assert said(one) == "session_invalidated"
    wait_until(lambda: other.peek(TOKEN) is None)
    assert said(other) == "session_invalidated"
    assert said(make()) == "session_invalidated"  # a worker that comes later
    assert len(graph.calls) == 1


@pytest.mark.parametrize("issued", [{"issued_at": NOW - 9}, {}], ids=["issued", "unknown"])
def test_a_user_that_leaves_has_left_everywhere(make, graph, clock, issued):
    graph.default = valid(**issued)
    one, other = make(), make()
    assert [said(one), said(other)] == ["ok"] * 2
    clock.advance(10)
    asyncio.run(one._revoker.end_user(USER, clock.time()))
    wait_until(lambda: other.peek(TOKEN) is None)
    assert [said(one), said(other), said(make())] == ["not_authorized"] * 3
    clock.advance(1)
    graph.default = valid(issued_at=NOW + 11) if issued else valid()
    assert [said(other, "EAAlater"), said(make(), "EAAlater")] == ["ok"] * 2


def test_a_user_is_looked_up_anew_everywhere(make, graph):
    one, other = make(), make()
    assert [said(one), said(other)] == ["ok"] * 2
    graph.default = dead(190, 458)
    one.forget_user(USER)
    wait_until(lambda: other.peek(TOKEN) is None)
    assert [said(other), said(one)] == ["not_authorized"] * 2
    assert len(graph.calls) == 2


def test_a_token_that_a_view_found_dead_is_dead_everywhere(make, graph):
    from fbguard.core.secret import Secret

    one, other = make(), make()
    assert [said(one), said(other)] == ["ok"] * 2
    graph.default = dead(190, 460)
    one.forget(Secret(TOKEN))
    assert said(one) == "password_changed"  # at once, whatever the store still says
    wait_until(lambda: other.peek(TOKEN) is None or not other.peek(TOKEN).is_valid)
    assert said(other) == "password_changed"


def test_a_look_up_under_way_elsewhere_loses(make, graph):
    one, other = make(), make()

    async def main() -> None:
        graph.gate.shut()
        waiting = asyncio.create_task(other.acheck(TOKEN))
        await asyncio.to_thread(graph.wait_for_calls, 1)
        await one.aexpire_session(TOKEN)
        graph.gate.open()
        with pytest.raises(Refused) as refused:
            await waiting
        assert refused.value.reason == "session_invalidated"
        await other.aclose_here()
        await one.aclose_here()

    asyncio.run(main())


class Away(MemoryStore):
    """A store that cannot be reached, as long as ``is_away``."""

    is_away = True

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        names = {"find", "keep", "stone_of_user", "bury", "bury_user", "forget", "forget_user"}
        if name not in names or not self.is_away:
            return found

        async def away(*_: object, **__: object) -> None:
            raise StoreUnavailable

        return away

    async def news(self) -> AsyncIterator[bytes]:
        if self.is_away:
            raise StoreUnavailable
        async for one in super().news():
            yield one


def test_with_the_store_away_graph_decides(make, graph):
    guard = make(store=Away())
    assert [said(guard), said(guard)] == ["ok"] * 2
    assert said(guard, "EAAother") == "ok"
    assert len(graph.calls) <= 3  # what is in memory may be distrusted once, when the link is found lost


def test_with_the_store_away_a_session_ends_here_and_that_is_said(make):
    guard = make(store=Away())
    assert said(guard) == "ok"
    with pytest.raises(StoreUnavailable):
        guard.expire_session(TOKEN)
    assert said(guard) == "session_invalidated"
    with pytest.raises(StoreUnavailable):
        guard.forget_user(USER)
    with pytest.raises(StoreUnavailable):
        asyncio.run(guard.aexpire_session(TOKEN))


def test_a_lost_link_distrusts_memory(make, graph, monkeypatch):
    guard = make()
    assert said(guard) == "ok"
    guard._revoker.lost()
    assert guard.peek(TOKEN) is None
    assert said(guard) == "ok"
    assert len(graph.calls) == 1  # the store knows


@pytest.mark.parametrize("forged", [b"", b"{}", b"0" * 64 + b'{"what":"forget_user","name":"1001"}'])
def test_news_of_nobody_are_no_news(make, store, forged):
    guard = make()
    listening: list[bool] = []
    guard._revoker.shared._lost = lambda: listening.append(True)
    assert said(guard) == "ok"  # from its first look-up on it listens
    wait_until(lambda: listening)
    store._spread(forged)
    guard.forget_user("9")  # comes behind it
    assert guard.peek(TOKEN) is not None


def test_what_was_kept_before_the_news_came_is_not_trusted(make, store):
    """Between a look-up and the moment at which the store's news are heard a session may end."""
    one, other = make(), make()
    news, is_ended = store.news, threading.Event()

    async def late() -> AsyncIterator[bytes]:
        while not is_ended.is_set():
            await asyncio.sleep(0)
        async for item in news():
            yield item

    store.news = late
    assert said(other) == "ok"
    one.expire_session(TOKEN)
    is_ended.set()
    wait_until(lambda: other.peek(TOKEN) is None)
    assert said(other) == "session_invalidated"


def test_a_store_that_hangs_is_away(make, monkeypatch):
    monkeypatch.setattr(shared, "_READ", 0.01)
    monkeypatch.setattr(shared, "_WRITE", 0.01)

    class Hangs(MemoryStore):
        async def find(self, name):
            await asyncio.Event().wait()

        async def bury(self, name, stone, *, ttl, news):
            await asyncio.Event().wait()

    guard = make(store=Hangs())
    assert said(guard) == "ok"
    with pytest.raises(StoreUnavailable):
        guard.expire_session(TOKEN)
    assert said(guard) == "session_invalidated"


def test_a_store_says_nothing_of_tokens(make, store):
    guard = make()
    assert said(guard) == "ok"
    guard.expire_session("EAAother0123456789")
    seen = repr([store._facts._entries, store._stones._entries, store._names_of])
    assert TOKEN not in seen
    assert "EAAother" not in seen
