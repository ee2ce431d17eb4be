"""Guards that share a store: one look-up for all, one end for all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from fbguard import Guard, Refused
from fbguard.core import background
from fbguard.core.cache import key_of
from fbguard.core.errors import StoreUnavailable
from fbguard.core.secret import Secret
from fbguard.stores import access, listening, shared, telling
from fbguard.stores.memory import MemoryStore
from fbguard.stores.protocol import Claim
from tests.support import (
    NOW,
    SECRET,
    TOKEN,
    FakeClock,
    FakeGraph,
    Reply,
    dead,
    hears,
    make_guard,
    valid,
    wait_until,
)

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
    hears(other)
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
    hears(other)
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
    hears(other)
    graph.default = dead(190, 458)
    one.forget_user(USER)
    wait_until(lambda: other.peek(TOKEN) is None)
    assert [said(other), said(one)] == ["not_authorized"] * 2
    assert len(graph.calls) == 2


def test_a_token_that_a_view_found_dead_is_dead_everywhere(make, graph):
    one, other = make(), make()
    assert [said(one), said(other)] == ["ok"] * 2
    hears(other)
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


class Cut(MemoryStore):
    """A store whose link for news can be cut; everything else goes on."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.is_cut = False
        self.finds = 0

    async def find(self, name, **options):
        self.finds += 1
        return await super().find(name, **options)

    async def news(self) -> AsyncIterator[bytes]:
        if self.is_cut:
            raise StoreUnavailable
        async with aclosing(super().news()) as news:
            async for one in news:
                if self.is_cut:
                    raise StoreUnavailable
                yield one

    def cut(self, *guards: Guard) -> None:
        self.is_cut = True
        self._spread(b"the last")
        wait_until(lambda: all(guard.health().store.status == "unheard" for guard in guards))

    def heal(self, *guards: Guard) -> None:
        self.is_cut = False
        hears(*guards)


def test_while_nobody_listens_each_token_is_asked_for_at_the_store(make, graph, clock):
    store = Cut(time=clock.time)
    one, other = make(store=store), make(store=store)
    assert [said(one), said(other)] == ["ok"] * 2
    hears(one, other)
    assert [said(other), said(other)] == ["ok"] * 2
    finds = store.finds
    assert said(other) == "ok"
    assert store.finds == finds  # a hit asks nobody
    store.cut(one, other)
    assert [said(other), said(other)] == ["ok"] * 2
    assert store.finds == finds + 2
    one.expire_session(TOKEN)
    assert said(other) == "session_invalidated"
    assert len(graph.calls) == 1


def test_what_was_asked_before_the_link_was_lost_is_asked_for_once_more(make, graph, clock):
    store = Cut(time=clock.time)
    one, other = make(store=store), make(store=store)
    assert [said(guard, token) for guard in (one, other) for token in (TOKEN, "EAAother")] == ["ok"] * 4
    hears(one, other)
    store.cut(one, other)
    one.expire_session(TOKEN)
    store.heal(one, other)
    assert said(other) == "session_invalidated"
    finds = store.finds
    assert [said(other, "EAAother") for _ in range(3)] == ["ok"] * 3
    assert store.finds == finds + 1
    assert len(graph.calls) == 2


def test_facts_of_a_time_without_the_store_are_asked_for_once_it_is_back(make, graph, clock):
    """Somebody ended the session long ago; a worker that cannot ask believes Graph, but not for long."""
    store = MemoryStore(time=clock.time)
    make(store=store).expire_session(TOKEN)
    away = Away(time=clock.time)
    late = make(store=away)
    assert said(late) == "ok"
    away.__dict__.update(store.__dict__, is_away=False)
    hears(late)
    assert said(late) == "session_invalidated"
    assert len(graph.calls) == 1


def test_with_graph_away_too_memory_counts_as_long_as_stale_if_error_says(make, graph, clock):
    """Of a session that was ended elsewhere, too; and the store is believed as soon as it can be asked."""
    store, back = MemoryStore(time=clock.time), Away(time=clock.time)
    late, lost = make(store=back, stale_if_error=100), make(store=Away(time=clock.time), stale_if_error=100)
    assert [said(late), said(lost)] == ["ok"] * 2
    make(store=store).expire_session(TOKEN)
    graph.default = Reply(b"", 500)
    clock.advance(399)
    assert [said(late), said(lost)] == ["ok"] * 2
    back.__dict__.update(store.__dict__, is_away=False)
    hears(late)
    assert said(late) == "session_invalidated"
    clock.advance(1)
    assert said(lost) == "unavailable"


@pytest.mark.parametrize("issued", [{}, {"issued_at": NOW - 10}], ids=["issue time unknown", "known"])
@pytest.mark.parametrize("grace", [0, 100])
def test_a_user_who_left_meanwhile_is_gone_although_only_memory_knows_the_token(
    make, graph, clock, issued, grace
):
    """The store has the user's tombstone and no fact, and Graph does not say whose the token is."""
    graph.default = valid(**issued)
    store, back = MemoryStore(time=clock.time), Away(time=clock.time)
    late = make(store=back, stale_if_error=grace)
    assert said(late) == "ok"
    clock.advance(1)
    asyncio.run(make(store=store)._revoker.end_user(USER, clock.time()))
    graph.default = Reply(b"", 500)
    assert said(late) == "ok"  # nobody can be asked
    back.__dict__.update(store.__dict__, is_away=False)
    hears(late)
    assert said(late) == "not_authorized"


def test_what_was_ended_while_the_store_was_away_is_ended_everywhere_once_it_is_back(make, graph, clock):
    away, other = Away(time=clock.time), make(store=MemoryStore(time=clock.time))
    one = make(store=away)
    assert [said(one), said(one, "EAAother"), said(other)] == ["ok"] * 3
    with pytest.raises(StoreUnavailable):
        one.expire_session(TOKEN)
    away.is_away = False
    hears(one)
    third = make(store=away)
    wait_until(lambda: said(third) == "session_invalidated")


def test_a_store_that_lost_all_is_told_again_who_was_ended(make, graph, clock):
    store = Cut(time=clock.time)
    origins = iter("abcdefgh")
    origin = [next(origins)]

    async def tell() -> str:
        return origin[0]

    store.origin = tell
    one = make(store=store)
    assert [said(one), said(one, "EAAother")] == ["ok"] * 2
    hears(one)
    wait_until(lambda: one._revoker.shared._telling._origin == "a")
    one.expire_session(TOKEN)
    asyncio.run(one._revoker.end_user("7", clock.time()))
    store.cut(one)
    store._stones._entries.clear()
    store._user_stones._entries.clear()
    store._facts._entries.clear()
    origin[0] = next(origins)
    store.heal(one)
    wait_until(lambda: len(store._stones._entries) == 1 and len(store._user_stones._entries) == 1)
    assert said(make(store=store)) == "session_invalidated"


def test_what_was_said_of_late_is_said_again_when_the_link_was_lost(make, graph, clock):
    """A replica that takes over may lack the last that was written."""
    store = Cut(time=clock.time)
    one = make(store=store)
    assert said(one) == "ok"
    hears(one)
    one.expire_session("EAAold0123456789")
    clock.advance(61)
    one.expire_session(TOKEN)
    store.cut(one)
    store._stones._entries.clear()
    store.heal(one)
    wait_until(lambda: store._stones._entries)
    assert said(make(store=store)) == "session_invalidated"
    assert len(store._stones._entries) == 1


def test_open_connections_are_looked_at_when_the_link_is_back(make, graph, clock):
    store = Cut(time=clock.time)
    one, other = make(store=store), make(store=store)
    ended: list[str] = []
    for token in (TOKEN, "EAAother"):
        other.watch(Secret(token), other.check(token), lambda finding, token=token: ended.append(token))
    hears(other)
    store.cut(other)
    one.expire_session(TOKEN)
    clock.advance(61)  # it is not told again
    assert ended == []
    store.heal(other)
    wait_until(lambda: ended)
    assert ended == [TOKEN]


@pytest.mark.parametrize("forged", [b"", b"{}", b"0" * 64 + b'{"what":"forget_user","name":"1001"}'])
def test_news_of_nobody_are_no_news(make, store, forged):
    guard = make()
    assert said(guard) == "ok"  # from its first look-up on it listens
    hears(guard)
    assert said(guard) == "ok"
    store._spread(forged)
    guard.forget_user("9")  # comes behind it
    wait_until(lambda: guard.health().store.unreadable == 1)
    assert guard.peek(TOKEN) is not None


def test_a_guard_that_is_closed_listens_no_more_whatever_the_store_makes_of_it(make, clock, caplog):
    class Deaf(MemoryStore):
        """Takes the end of its listener for a lost link."""

        async def news(self) -> AsyncIterator[bytes]:
            try:
                async with aclosing(super().news()) as news:
                    async for one in news:
                        yield one
            except asyncio.CancelledError:
                raise StoreUnavailable from None

    guard = make(store=Deaf(time=clock.time))
    assert said(guard) == "ok"
    hears(guard)
    task = guard._revoker.shared._listening._task
    guard.close()
    wait_until(task.done)
    assert "lost" not in caplog.text


def test_too_many_news_are_not_believed(make, store, monkeypatch):
    monkeypatch.setattr(listening, "MOST", 100)
    guard = make()
    assert said(guard) == "ok"
    hears(guard)
    for _ in range(150):
        store._spread(b"junk")
    wait_until(lambda: guard.health().store.status == "unheard")
    hears(guard)
    assert 100 <= guard.health().store.unreadable <= 101


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
    assert said(other) == "session_invalidated"


def test_one_look_up_for_workers_that_ask_at_once(make, graph):
    guards = [make() for _ in range(5)]
    graph.gate.shut()

    async def main() -> None:
        asked = [asyncio.create_task(guard.acheck(TOKEN)) for guard in guards]
        await asyncio.to_thread(graph.wait_for_calls, 1)
        for _ in range(20):
            await asyncio.sleep(0)
        graph.gate.open()
        await asyncio.gather(*asked)
        for guard in guards:
            await guard.aclose_here()

    asyncio.run(main())
    assert len(graph.calls) == 1


def test_who_waits_for_another_worker_does_not_wait_for_long(make, store, graph, monkeypatch):
    """The one that looked it up is gone, and its claim has not ended yet."""
    monkeypatch.setattr(shared, "CLAIM", 0.05)
    guard = make()
    name = guard._revoker.shared._values.token_name(key_of(Secret(TOKEN)))
    asyncio.run(store.find(name, claim=Claim("somebody", 100)))
    assert said(guard) == "ok"


def test_who_gets_no_answer_lets_the_next_one_ask(make, graph):
    one, other = make(), make()
    graph.default = Reply(b"", 500)
    assert said(one) == "unavailable"
    graph.default = valid()
    assert said(other) == "ok"
    assert len(graph.calls) == 2


def test_a_store_that_hangs_is_away(make, monkeypatch):
    monkeypatch.setattr(access, "READ", 0.01)
    monkeypatch.setattr(access, "WRITE", 0.01)

    class Hangs(MemoryStore):
        async def find(self, name, **options):
            await asyncio.Event().wait()

        async def bury(self, name, stone, **options):
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


def test_a_listener_that_breaks_off_listens_again(make, graph, clock):
    """Whatever a client library raises: nobody goes on believing that he hears."""

    class Broken(MemoryStore):
        times = 0

        async def news(self) -> AsyncIterator[bytes]:
            mine = self.times
            yield b""
            while self.times == mine:
                await asyncio.sleep(0.001)
            raise IndexError

    store = Broken(time=clock.time)
    one, other = make(store=store), make(store=store)
    assert [said(one), said(other)] == ["ok"] * 2
    hears(other)
    era = other._revoker.shared.eras.era
    store.times += 1
    wait_until(lambda: other._revoker.shared.eras.era not in {None, era})
    one.expire_session(TOKEN)
    assert said(other) == "session_invalidated"


def test_what_a_store_raises_reaches_nobody(make, graph, clock):
    class Failing(MemoryStore):
        async def find(self, name, **options):
            raise LookupError

        async def bury(self, name, stone, **options):
            raise LookupError

    guard = make(store=Failing(time=clock.time))
    assert [said(guard, f"EAA{number}") for number in range(5)] == ["ok"] * 5
    assert guard.health().store.status == "away"
    with pytest.raises(StoreUnavailable):
        guard.expire_session(TOKEN)


def test_an_end_that_nobody_waits_for_is_told_all_the_same(make, graph, clock):
    class Slow(MemoryStore):
        is_slow = True

        async def bury(self, name, stone, **options):
            while self.is_slow:
                await asyncio.sleep(0.001)
            await super().bury(name, stone, **options)

    store = Slow(time=clock.time)
    one, other = make(store=store), make(store=store)
    assert [said(one), said(other)] == ["ok"] * 2
    hears(one, other)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.aexpire_session(TOKEN), 0.01)
        store.is_slow = False
        await one.aclose_here()

    asyncio.run(main())
    wait_until(lambda: said(other) == "session_invalidated")


def test_of_two_events_that_wait_the_later_counts(make, graph, clock):
    away = Away(time=clock.time)
    one = make(store=away)
    assert said(one) == "ok"
    for at in (clock.time(), clock.time() - 100):
        with pytest.raises(StoreUnavailable):
            asyncio.run(one._revoker.end_user("7", at))
    [waiting] = one._revoker.shared._telling._unsent.values()
    assert waiting.stone.at == clock.time()


def test_more_than_can_wait_are_told_too(make, graph, clock, monkeypatch, caplog):
    monkeypatch.setattr(telling, "_UNSENT", 5)
    away = Away(time=clock.time)
    one = make(store=away)
    assert said(one) == "ok"
    for number in range(8):
        with pytest.raises(StoreUnavailable):
            one.expire_session(f"EAAtoken{number}")
    assert "more sessions ended than can wait" in caplog.text
    away.is_away = False
    wait_until(lambda: len(away._stones._entries) == 8)


def test_who_asked_a_store_that_had_lost_all_asks_once_more(make, graph, clock):
    store = Cut(time=clock.time)
    origin = ["a"]

    async def tell() -> str:
        return origin[0]

    store.origin = tell
    one = make(store=store)
    one.expire_session(TOKEN)
    assert said(one, "EAAother") == "ok"
    hears(one)
    wait_until(lambda: one._revoker.shared._telling._origin == "a")
    clock.advance(61)  # it is not told again for its own sake
    store.cut(one)
    store._stones._entries.clear()
    origin[0] = "b"
    store.is_cut = False
    late = make(store=store)
    late._revoker.shared._telling._origin = "b"
    assert said(late) in {"ok", "session_invalidated"}  # it asked before it was written anew, or after
    hears(one, late)
    wait_until(lambda: said(late) == "session_invalidated")


def test_a_fact_from_the_future_is_none(make, graph, clock):
    store = MemoryStore(time=clock.time)
    ahead = FakeClock()
    ahead.advance(600)
    with make_guard(graph, ahead, store=store) as theirs:
        assert said(theirs) == "ok"
    assert said(make(store=store)) == "ok"
    assert len(graph.calls) == 2


# -- what a space and its names hang on ------------------------------------------------------------------

OLD = "00112233445566778899aabbccddeeff"


def end(guard: Guard, whose: str, clock: FakeClock) -> str:
    """End TOKEN's session, or all of its user's; return what it is refused as."""
    if whose == "token":
        guard.expire_session(TOKEN)
        return "session_invalidated"
    asyncio.run(guard._revoker.end_user(USER, clock.time()))
    return "not_authorized"


@pytest.mark.parametrize("whose", ["token", "user"])
@pytest.mark.parametrize("issued", [{}, {"issued_at": NOW - 10}], ids=["issue time unknown", "known"])
def test_ended_at_one_version_of_graph_is_ended_at_the_next(make, graph, clock, whose, issued):
    graph.default = valid(**issued)
    old, new = make(graph_version="v25.0"), make(graph_version="v26.0")
    assert [said(old), said(new)] == ["ok"] * 2
    assert len(graph.calls) == 2  # what Graph says may differ
    reason = end(old, whose, clock)
    wait_until(lambda: said(new) == reason)
    assert said(make(graph_version="v27.0")) == reason


@pytest.mark.parametrize("whose", ["token", "user"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (OLD, (SECRET, OLD)),
        ((SECRET, OLD), OLD),
        ((OLD, SECRET), SECRET),
        ((OLD, SECRET), (SECRET, OLD)),
        ((SECRET, OLD), SECRET),
    ],
    ids=["the next is brought in", "and ends for those before", "last day", "turned", "old one gone"],
)
@pytest.mark.parametrize("when", ["heard", "found"])
@pytest.mark.parametrize("issued", [{}, {"issued_at": NOW - 10}], ids=["issue time unknown", "known"])
def test_while_secrets_are_rotated_an_end_is_one_for_all(
    make, graph, clock, whose, before, after, when, issued
):
    graph.default = valid(**issued)
    one = make(app_secret=before)
    assert said(one) == "ok"
    if when == "heard":
        other = make(app_secret=after)
        assert said(other) == "ok"
        hears(one, other)
        reason = end(one, whose, clock)
        wait_until(lambda: said(other) == reason)
    reason = end(one, whose, clock)
    assert said(make(app_secret=after)) == reason


@pytest.mark.parametrize(
    "url", ["https://GRAPH.facebook.com", "https://graph.facebook.com:443/", "https://graph.facebook.com."]
)
def test_spellings_of_one_graph_share(make, graph, url):
    make(graph_url="https://graph.facebook.com").expire_session(TOKEN)
    assert said(make(graph_url=url)) == "session_invalidated"


@pytest.mark.parametrize(
    "url", ["https://graph.example.com", "https://graph.facebook.com:444", "http://[::1]:9"]
)
def test_another_graph_shares_nothing(make, url):
    make(graph_url="https://graph.facebook.com").expire_session(TOKEN)
    assert said(make(graph_url=url)) == "ok"


@pytest.mark.parametrize("seen_by", [OLD, (SECRET, OLD), (OLD, SECRET)], ids=["old", "new, old", "old, new"])
@pytest.mark.parametrize("ended_by", [(SECRET, OLD), (OLD, SECRET)], ids=["new, old", "old, new"])
def test_who_knows_both_secrets_ends_what_either_has_seen(make, graph, clock, seen_by, ended_by):
    """Also of tokens whose issue time nobody knows: with each fact stands under which names it ends."""
    assert said(make(app_secret=seen_by)) == "ok"
    asyncio.run(make(app_secret=ended_by)._revoker.end_user(USER, clock.time()))
    for secret in (OLD, (SECRET, OLD), (OLD, SECRET)):
        assert said(make(app_secret=secret)) == "not_authorized"


def test_a_tombstone_that_was_read_in_time_counts_whatever_comes_late(make, clock, monkeypatch):
    """While secrets are rotated a fact has its user asked for once more."""

    class Slow(MemoryStore):
        is_slow = False

        async def stone_of_user(self, user):
            if self.is_slow:
                await asyncio.Event().wait()
            return await super().stone_of_user(user)

    monkeypatch.setattr(access, "YOUTH", 0.0)
    store = Slow(time=clock.time)
    assert said(make(store=store, app_secret=(SECRET, OLD))) == "ok"
    make(store=store, app_secret=OLD).expire_session(TOKEN)
    store.is_slow = True
    assert said(make(store=store, app_secret=(SECRET, OLD))) == "session_invalidated"


def test_while_secrets_are_rotated_what_is_forgotten_is_so_for_all(make, graph):
    both, old = make(app_secret=(SECRET, OLD)), make(app_secret=OLD)
    assert [said(both), said(old), said(both, "EAAother"), said(old, "EAAother")] == ["ok"] * 4
    hears(both, old)
    graph.default = dead(190, 460)
    both.forget(Secret(TOKEN))
    wait_until(lambda: said(old) == "password_changed")
    both.forget_user(USER)
    wait_until(lambda: said(old, "EAAother") == "password_changed")


@pytest.mark.parametrize("whose", ["token", "user"])
def test_a_store_that_lost_all_is_told_by_each_secret(make, graph, clock, whose):
    graph.default = valid(issued_at=NOW - 10)
    store = Cut(time=clock.time)
    origin = ["a"]

    async def tell() -> str:
        return origin[0]

    store.origin = tell
    one = make(store=store, app_secret=(SECRET, OLD))
    assert said(one) == "ok"
    hears(one)
    wait_until(lambda: one._revoker.shared._telling._origin == "a")
    reason = end(one, whose, clock)
    store.cut(one)
    clock.advance(telling._AGAIN)  # so it is not told again for being new
    for lost in (store._facts, store._stones, store._user_stones):
        lost._entries.clear()
    origin[0] = "b"
    store.heal(one)
    wait_until(lambda: one._revoker.shared._telling._origin == "b")
    assert said(make(store=store, app_secret=OLD)) == reason


# -- a store that refuses to write -------------------------------------------------------------------------


class Refusing(Cut):
    """A store that may refuse tombstones, all or the next few, and answers everything else."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.refuses = 0.0
        self.refused = 0

    async def bury(self, name, stone, **options):
        if self.refuses:
            self.refuses -= 1
            self.refused += 1
            raise StoreUnavailable
        return await super().bury(name, stone, **options)


def test_what_could_not_be_told_again_is_told_later(make, clock, monkeypatch):
    monkeypatch.setattr(listening, "LATEST", 0.01)
    store = Refusing(time=clock.time)
    one, other = make(store=store), make(store=store)
    tokens = [TOKEN, "EAAother", "EAAthird"]
    assert [said(guard, token) for guard in (one, other) for token in tokens] == ["ok"] * 6
    hears(one, other)
    store.refuses = len(tokens) + 1  # and the first of them once more
    for token in tokens:
        with pytest.raises(StoreUnavailable):
            one.expire_session(token)
    wait_until(lambda: [said(other, token) for token in tokens] == ["session_invalidated"] * 3)


def test_a_store_that_refuses_to_write_is_read(make, clock):
    store = Refusing(time=clock.time)
    ended = [f"EAAended{number}" for number in range(10)]
    one = make(store=store)
    for token in ended:
        one.expire_session(token)
    late = make(store=store)
    assert said(late) == "ok"
    hears(late)
    store.refuses = float("inf")
    for number in range(2 * access.FAILURES):
        with pytest.raises(StoreUnavailable):
            late.expire_session(f"EAAmine{number}")
    assert late.health().store.status == "ok"
    assert [said(late, token) for token in ended] == ["session_invalidated"] * len(ended)


def test_connections_are_looked_after_although_a_store_refuses_to_write(make, clock, monkeypatch):
    monkeypatch.setattr(listening, "LATEST", 0.01)
    store = Refusing(time=clock.time)
    one, other = make(store=store), make(store=store)
    assert [said(one), said(other)] == ["ok"] * 2
    hears(one, other)
    ended: list[str] = []
    other.watch(Secret(TOKEN), other.check(TOKEN), lambda finding: ended.append(finding.reason))
    store.cut(one, other)
    one.expire_session(TOKEN)
    store.refuses = float("inf")
    for number in range(2 * access.FAILURES):
        with pytest.raises(StoreUnavailable):
            other.expire_session(f"EAAmine{number}")
    other.forget(Secret("EAAother"))  # which is told behind them
    store.heal(one, other)
    wait_until(lambda: ended == ["session_invalidated"])
    unsent = other._revoker.shared._telling._unsent
    wait_until(lambda: {what for what, _ in unsent} == {"token"})
    finds, told = store.finds, store.refused
    wait_until(lambda: store.refused > told + 2 * access.FAILURES)
    assert store.finds == finds  # once is enough


def test_how_many_listen_is_of_the_last_end(make, clock):
    store = Refusing(time=clock.time)
    one, other = make(store=store), make(store=store)
    assert one.health().store.listeners is None
    assert [said(one), said(other)] == ["ok"] * 2
    hears(one, other)
    one.expire_session(TOKEN)
    assert (one.health().store.listeners, other.health().store.listeners) == (2, None)
    one.forget_user(USER)
    assert one.health().store.listeners == 2
    store.refuses = 1
    with pytest.raises(StoreUnavailable):
        one.expire_session("EAAother")
    assert one.health().store.listeners is None


def test_a_look_up_that_outlives_its_guard_does_not_listen_anew(make):
    guard = make()
    assert said(guard) == "ok"
    hears(guard)
    guard.close()
    guard._revoker.shared._listening.start()
    assert guard._revoker.shared._listening._work is None


def test_who_only_ends_sessions_tells_later_what_was_refused(make, clock, monkeypatch):
    monkeypatch.setattr(listening, "LATEST", 0.01)
    store = Refusing(time=clock.time)
    one, other = make(store=store), make(store=store)
    assert said(other) == "ok"
    hears(other)
    store.refuses = 2  # and once more when it is told again
    with pytest.raises(StoreUnavailable):
        one.expire_session(TOKEN)
    wait_until(lambda: said(other) == "session_invalidated")


def test_what_is_to_be_forgotten_is_so_here_although_there_is_no_loop_to_tell_it_on(make, graph, monkeypatch):
    def loop() -> None:
        raise RuntimeError("can't start new thread")

    guard = make()
    assert said(guard) == "ok"
    with monkeypatch.context() as patch:
        patch.setattr(background, "loop", loop)
        guard.forget(Secret(TOKEN))
    assert said(guard) == "ok"
    assert len(graph.calls) == 2


def test_who_begins_to_listen_with_an_end_does_not_count_for_it(make, clock):
    class Slow(MemoryStore):
        async def bury(self, name, stone, **options):
            for _ in range(100):
                await asyncio.sleep(0)
            return await super().bury(name, stone, **options)

    store = Slow(time=clock.time)
    one, other = make(store=store), make(store=store)
    assert said(other) == "ok"
    hears(other)
    one.expire_session(TOKEN)
    assert one.health().store.listeners == 1
    hears(one)
    one.expire_session("EAAother")
    assert one.health().store.listeners == 2


def test_a_connection_that_cannot_be_checked_keeps_nothing_back(make, clock, monkeypatch):
    monkeypatch.setattr(listening, "LATEST", 0.01)
    monkeypatch.setattr(shared, "_CHECKED_AT_ONCE", 1)

    class Lame(Refusing):
        """A store that fails when it is asked for one of its names."""

        lame = ""

        async def find(self, name, **options):
            if name == self.lame:
                raise ValueError
            return await super().find(name, **options)

    store = Lame(time=clock.time)
    one, other = make(store=store), make(store=store)
    ended: list[str] = []
    for token in (TOKEN, "EAAother"):
        other.watch(Secret(token), other.check(token), lambda finding, token=token: ended.append(token))
    hears(other)
    store.cut(other)
    for token in (TOKEN, "EAAother"):
        one.expire_session(token)
    clock.advance(61)  # they are not told again
    store.refuses = 1
    with pytest.raises(StoreUnavailable):
        other.expire_session("EAAmine")
    store.lame = other._revoker.shared._values.token_name(key_of(Secret(TOKEN)))
    store.heal(other)
    wait_until(lambda: ended == ["EAAother"])
    wait_until(lambda: not other._revoker.shared._telling._unsent)
    store.lame = ""
    wait_until(lambda: ended == ["EAAother", TOKEN])
