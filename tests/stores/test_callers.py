"""What guards do with any store, asked by callers on threads and by async ones on a loop of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fbguard.stores.memory import MemoryStore
from fbguard.stores.protocol import Store
from fbguard.stores.redis import RedisStore
from fbguard.stores.sqlite import SQLiteStore
from tests.support import NOW, TOKEN, FakeClock, FakeGraph, dead, valid
from tests.threats.workers import USER, Fleet, calm, eventually, fleet

__all__ = ["calm", "fleet"]  # fixtures
pytestmark = pytest.mark.usefixtures("quiet_asyncio", "calm")

ENDED = "session_invalidated"
Open = Callable[[], Store]  # the same place, as another process has it


@pytest.fixture(params=["memory", "sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Open]:
    if request.param == "memory":
        only = MemoryStore(time=clock.time)
        yield lambda: only
    elif request.param == "sqlite":
        yield lambda: SQLiteStore(tmp_path / "fbguard.db", time=clock.time)
    else:
        url = request.getfixturevalue("redis_server").url
        yield lambda: RedisStore(url)


def test_one_look_up_for_all(fleet: Fleet, place: Open, graph: FakeGraph):
    assert [fleet.worker(place()).said() for _ in range(3)] == ["ok"] * 3
    assert graph.calls == [TOKEN]


def test_a_no_is_shared_too(fleet: Fleet, place: Open, graph: FakeGraph):
    graph.default = dead(190, 463)
    assert [fleet.worker(place()).said() for _ in range(2)] == ["expired"] * 2
    assert graph.calls == [TOKEN]


def test_many_callers_of_two_workers_make_one_look_up_a_token(fleet: Fleet, place: Open, graph: FakeGraph):
    one, other = fleet.worker(place()).heard(), fleet.worker(place()).heard()
    graph.calls.clear()
    tokens = [f"EAAtoken{number % 4}" for number in range(16)]
    answers: list[str] = []
    if fleet.runner is None:
        threads = [
            threading.Thread(target=lambda one=one: answers.extend(one.all_said(tokens)))
            for one in (one, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        answers += one.all_said(tokens) + other.all_said(tokens)
    assert answers == ["ok"] * 32
    assert sorted(graph.calls) == sorted(set(tokens))


def test_another_app_shares_nothing(fleet: Fleet, place: Open, graph: FakeGraph):
    assert fleet.worker(place()).said() == "ok"
    theirs = FakeGraph()
    theirs.default = valid(app_id="42")
    stranger = fleet.worker(place(), graph=theirs, app_id="42")
    assert stranger.said() == "ok"
    stranger.end()
    assert theirs.calls == [TOKEN]
    assert fleet.worker(place()).said() == "ok"


def test_an_end_reaches_all_and_those_who_come_later(fleet: Fleet, place: Open, graph: FakeGraph):
    one, other = fleet.workers(place(), 1) + fleet.workers(place(), 1)
    assert [one.said(), other.said(), other.said("EAAother")] == ["ok"] * 3
    ended = other.watch()
    one.end()
    assert one.said() == ENDED
    eventually(lambda: other.said() == ENDED)
    eventually(lambda: ended == [ENDED])
    assert [other.said("EAAother"), fleet.worker(place()).said()] == ["ok", ENDED]
    assert graph.calls.count(TOKEN) == 1


@pytest.mark.parametrize("issued", [{}, {"issued_at": NOW - 10}], ids=["issue time unknown", "known"])
def test_the_end_of_a_user(
    fleet: Fleet, place: Open, graph: FakeGraph, clock: FakeClock, issued: dict[str, Any]
):
    graph.default = valid(**issued)
    one, other = fleet.workers(place(), 1) + fleet.workers(place(), 1)
    assert [other.said(), other.said("EAAsecond")] == ["ok"] * 2
    clock.advance(2)
    one.end_user(clock.wall)
    eventually(lambda: other.all_said([TOKEN, "EAAsecond"]) == ["not_authorized"] * 2)
    assert fleet.worker(place()).all_said([TOKEN, "EAAsecond"]) == ["not_authorized"] * 2
    clock.advance(1)
    graph.default = valid(**({"issued_at": int(clock.wall)} if issued else {}))
    assert [other.said("EAAlogin"), one.said("EAAlogin")] == ["ok"] * 2  # nobody is banned for ever


def test_a_user_who_is_forgotten_is_looked_up_anew(fleet: Fleet, place: Open, graph: FakeGraph):
    one, other = fleet.workers(place(), 1) + fleet.workers(place(), 1)
    assert [one.said(), other.said()] == ["ok"] * 2
    graph.default = dead(190, 460)
    one.forget_user(USER)
    eventually(lambda: other.guard.peek(TOKEN) is None)
    assert [other.said(), one.said()] == ["password_changed"] * 2
    assert graph.calls.count(TOKEN) == 2


def test_every_health_is_well(fleet: Fleet, place: Open):
    one = fleet.worker(place()).heard()
    assert [one.said(), one.said("EAAother")] == ["ok"] * 2
    assert (one.status, one.failed, one.unreadable) == ("ok", 0, 0)
