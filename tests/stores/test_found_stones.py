"""A tombstone that was found in the store counts as one that was heard of: whatever happens then."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import pytest

from fbguard.core import background
from fbguard.core.errors import StoreUnavailable
from fbguard.stores import access
from fbguard.stores.memory import MemoryStore
from tests.stores.test_shared import OLD, USER, Cut, end, make, said, store
from tests.support import NOW, SECRET, TOKEN, hears, until, valid, wait_until

__all__ = ["make", "store"]  # fixtures
pytestmark = pytest.mark.usefixtures("quiet_asyncio")


class Fails(Cut):
    """A store that may also fail to answer."""

    fails = False

    async def find(self, name, **options):
        if self.fails:
            raise StoreUnavailable
        return await super().find(name, **options)


class Starts(MemoryStore):
    """A store whose first answer takes long, as one does whose connection must be opened first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.first = 4 * access.READ

    async def find(self, name, **options):
        await asyncio.sleep(self.first)
        self.first = 0.0
        return await super().find(name, **options)


def test_a_worker_that_has_just_started_waits_for_the_store(make, graph, clock):
    """It has heard of nothing that ended, and Graph knows of no log-out."""
    store = Starts(time=clock.time)
    make(store=store).expire_session(TOKEN)
    assert said(make(store=store)) == "session_invalidated"
    assert graph.calls == []


@pytest.mark.parametrize("whose", ["token", "user"])
def test_an_ended_session_stays_ended_when_the_store_goes_away(make, clock, whose):
    """The fact from before is still there, and memory counts while nobody can be asked: but not this one."""
    store = Fails(time=clock.time)
    one, other = make(store=store), make(store=store)
    assert [said(one), said(other)] == ["ok"] * 2
    hears(one, other)
    store.cut(one, other)
    refusal = end(one, whose, clock)
    assert said(other) == refusal  # it has asked the store
    store.fails = True
    for number in range(access.FAILURES):
        said(other, f"EAAother{number}")
    assert other.health().store.status == "away"
    assert said(other) == refusal


class Late(Cut):
    """A store that may answer, but not in time."""

    is_late = False

    async def find(self, name, **options):
        if self.is_late:
            await asyncio.sleep(2 * access.READ)
        return await super().find(name, **options)


@pytest.mark.parametrize("whose", ["token", "user"])
def test_an_answer_that_comes_too_late_is_heeded(make, clock, whose, monkeypatch):
    """Nobody waited for it, and memory had the word meanwhile: but not for long."""
    monkeypatch.setattr(access, "YOUTH", 0.0)
    store = Late(time=clock.time)
    one, other = make(store=store), make(store=store)
    assert [said(one), said(other)] == ["ok"] * 2
    hears(one, other)
    store.cut(one, other)
    refusal = end(one, whose, clock)
    store.is_late = True
    assert said(other) == "ok"
    wait_until(lambda: said(other) == refusal)


@pytest.mark.parametrize("ender", [SECRET, OLD], ids=["this secret", "the other one"])
def test_a_late_answer_brings_the_end_of_a_user(make, graph, clock, monkeypatch, ender):
    """Of a token of which the store knows no end but its user's, and a fact that was kept afterwards."""
    monkeypatch.setattr(access, "YOUTH", 0.0)
    graph.default = valid(issued_at=NOW - 10)
    store = Late(time=clock.time)
    secrets = {"app_secret": (SECRET, OLD)}
    other, third = make(store=store, **secrets), make(store=store, **secrets)
    assert said(other) == "ok"
    hears(other)
    store.cut(other)
    asyncio.run(make(store=store, app_secret=ender)._revoker.end_user(USER, clock.time()))
    for graves in (store._stones, store._facts):
        graves._entries.clear()
    assert said(third) == "not_authorized"  # as Graph lags behind; it has kept the fact for all
    assert len(store._facts._entries) == 1
    store.is_late = True
    assert said(other) == "ok"
    wait_until(lambda: said(other) == "not_authorized")


def test_a_late_answer_about_a_new_login_changes_nothing(make, graph, clock, monkeypatch):
    """The tombstone of its user is of long ago."""
    monkeypatch.setattr(access, "YOUTH", 0.0)
    store = Late(time=clock.time)
    one, other = make(store=store), make(store=store)
    asyncio.run(one._revoker.end_user(USER, clock.time() - 1000))
    graph.default = valid(issued_at=NOW - 10)
    assert [said(one), said(other)] == ["ok"] * 2
    hears(one, other)
    store.cut(one, other)
    mark = other._cache.mark()
    store.is_late = True
    assert said(other) == "ok"
    questions = list(other._revoker.shared._access._questions._by_loop.values())
    wait_until(lambda: not any(one._tasks for one in questions))
    background.submit(asyncio.sleep(0)).result()  # what is done when one is over is done
    assert other._cache.mark() == mark


def test_an_answer_whose_caller_has_left_is_handed_over():
    late: list[int] = []

    async def main() -> None:
        asked, store = asyncio.Event(), access.Access(time.monotonic)

        async def ask() -> int:
            await asked.wait()
            return 1

        for answers_at_once in (False, True):
            asked.clear()
            caller = asyncio.create_task(store.read(ask, late.append))
            await asyncio.sleep(0)
            if answers_at_once:
                asked.set()
            caller.cancel()
            with suppress(asyncio.CancelledError):
                await caller
            asked.set()
            await until(lambda: late)
            assert late.pop() == 1
        asked.set()
        assert await store.read(ask, late.append) == 1
        await asyncio.sleep(0)
        assert not late
        await store.aclose_here()

    asyncio.run(main())
