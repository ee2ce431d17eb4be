"""A tombstone that was found in the store counts as one that was heard of: whatever happens then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fbguard.core.errors import StoreUnavailable
from fbguard.stores import access
from fbguard.stores.memory import MemoryStore
from tests.stores.test_shared import USER, Cut, heard, make, said, store
from tests.support import TOKEN

__all__ = ["make", "store"]  # fixtures
pytestmark = pytest.mark.usefixtures("quiet_asyncio")


class Fails(Cut):
    """A store that may also fail to answer."""

    fails = False

    async def find(self, name, *, claim=None):
        if self.fails:
            raise StoreUnavailable
        return await super().find(name, claim=claim)


class Starts(MemoryStore):
    """A store whose first answer takes long, as one does whose connection must be opened first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.first = 4 * access.READ

    async def find(self, name, *, claim=None):
        await asyncio.sleep(self.first)
        self.first = 0.0
        return await super().find(name, claim=claim)


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
