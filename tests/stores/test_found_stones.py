"""A tombstone that was found in the store counts as one that was heard of: whatever happens then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fbguard.core.errors import StoreUnavailable
from fbguard.stores import access
from fbguard.stores.memory import MemoryStore
from tests.stores.test_shared import USER, Cut, heard, make, said, store, wait_until
from tests.support import NOW, TOKEN, valid

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
    heard(one, other)
    store.cut(one, other)
    if whose == "token":
        one.expire_session(TOKEN)
    else:
        asyncio.run(one._revoker.end_user(USER, clock.time()))
    refusal = said(other)  # it has asked the store
    assert refusal in {"session_invalidated", "not_authorized"}
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
    heard(one, other)
    store.cut(one, other)
    if whose == "token":
        one.expire_session(TOKEN)
    else:
        asyncio.run(one._revoker.end_user(USER, clock.time()))
    store.is_late = True
    assert said(other) == "ok"
    wait_until(lambda: said(other) in {"session_invalidated", "not_authorized"})


def test_a_late_answer_brings_the_end_of_a_user(make, graph, clock, monkeypatch):
    """Of a token that was looked up anew since: its fact is there, and refused for its issue time."""
    monkeypatch.setattr(access, "YOUTH", 0.0)
    graph.default = valid(issued_at=NOW - 10)
    store = Late(time=clock.time)
    one, other = make(store=store), make(store=store)
    assert said(other) == "ok"
    heard(other)
    store.cut(other)
    asyncio.run(one._revoker.end_user(USER, clock.time()))
    assert said(one) == "not_authorized"  # and has kept the fact for all
    store.is_late = True
    assert said(other) == "ok"
    wait_until(lambda: said(other) == "not_authorized")
