"""Whatever way a process learns that a token is over: the connections that it opened end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from fbguard import Guard, Refused
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.stores.memory import MemoryStore
from tests.support import TOKEN, FakeClock, FakeGraph, dead, make_guard, valid

USER = "1001"
pytestmark = pytest.mark.usefixtures("quiet_asyncio")


@pytest.fixture
def guard(graph: FakeGraph, clock: FakeClock) -> Iterator[Guard]:
    with make_guard(graph, clock) as guard:
        yield guard


def open_one(guard: Guard, token: str = TOKEN) -> list[str]:
    """Open a connection with a token; gives the reasons for which it was ended."""
    reasons: list[str] = []

    def end(finding: Finding) -> None:
        reasons.append(finding.reason)

    guard.watch(Secret(token), guard.check(token), end)
    return reasons


def test_a_deauthorize_that_comes_late(guard, clock):
    """The connection was opened after the event, with a token that was seen before it."""
    guard.check(TOKEN)
    clock.advance(10)
    removed = clock.wall
    clock.advance(5)
    reasons = open_one(guard)
    asyncio.run(guard._revoker.end_user(USER, removed))
    assert reasons == ["not_authorized"]


def test_a_new_login_is_not_disturbed(guard, clock):
    removed = clock.wall
    clock.advance(5)
    reasons = open_one(guard)
    asyncio.run(guard._revoker.end_user(USER, removed))
    assert reasons == []


@pytest.mark.parametrize(("subcode", "reason"), [(467, "logged_out"), (460, "password_changed")])
def test_a_look_up_that_finds_it_dead(guard, graph, subcode, reason):
    reasons = open_one(guard)
    graph.default = dead(190, subcode)
    guard.forget_user(USER)  # as a webhook has it
    assert reasons == []  # nobody has asked yet
    with pytest.raises(Refused):
        guard.check(TOKEN)
    assert reasons == [reason]


def test_a_dont_know_ends_nothing(guard, graph):
    reasons = open_one(guard)
    graph.default = ConnectionError()
    guard.forget_user(USER)
    with pytest.raises(Refused):
        guard.check(TOKEN)
    assert reasons == []


def test_a_tombstone_that_is_found_in_the_store(graph, clock):
    store = MemoryStore(time=clock.time)
    with make_guard(graph, clock, store=store) as one, make_guard(graph, clock, store=store) as other:
        reasons = open_one(other)
        other._revoker.shared._listening.stop()  # it does not hear
        one.expire_session(TOKEN)
        with pytest.raises(Refused, match="session_invalidated"):
            other.check(TOKEN)
        assert reasons == ["session_invalidated"]


class Revoking(FakeGraph):
    """Takes permissions away, too."""

    async def handle_async_request(self, request):
        import httpx

        if request.method == "DELETE":
            self.default = dead(190, 458)
            return httpx.Response(200, stream=httpx.ByteStream(b"true"))
        return await super().handle_async_request(request)


@pytest.mark.parametrize("is_known", [True, False])
def test_all_of_a_person_end_with_one_that_facebook_ends(clock, is_known):
    """Also where the guard does not know whose the one is."""
    graph = Revoking()
    with make_guard(graph, clock) as guard:
        other = open_one(guard, "EAAother")
        if is_known:
            guard.check(TOKEN)
        guard.expire_session(TOKEN, upstream="revoke")
        assert other == ["not_authorized"]
        with pytest.raises(Refused, match="not_authorized"):
            guard.check("EAAother")


def test_with_the_store_away_facebook_is_asked_all_the_same(clock):
    from fbguard.core.errors import StoreUnavailable

    class Away(MemoryStore):
        async def bury(self, name, stone, **options):
            raise StoreUnavailable

    graph = Revoking()
    with make_guard(graph, clock, store=Away(time=clock.time)) as guard:
        guard.check(TOKEN)
        with pytest.raises(StoreUnavailable):
            guard.expire_session(TOKEN, upstream="revoke")
        assert graph.default != valid()
