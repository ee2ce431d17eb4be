"""How old a fact may be: stale_if_error, max_fact_age, refresh_ahead, and facts that end together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from fbguard import Guard, Refused, Requirement, require_fb_token
from fbguard.core.cache import FactCache, key_of
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from tests.support import (
    NOW,
    TOKEN,
    FakeClock,
    FakeGraph,
    Reply,
    dead,
    envelope,
    make_guard,
    negatives,
    positives,
    until,
    valid,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

DOWN = Reply(b"", 500)
TTL = 100.0
Ask = Callable[..., str]


@pytest.fixture
def make(graph: FakeGraph, clock: FakeClock) -> Iterator[Callable[..., Guard]]:
    guards: list[Guard] = []

    def make(**options: Any) -> Guard:
        guards.append(make_guard(graph, clock, **({"ttl": TTL} | options)))
        return guards[-1]

    yield make
    for guard in guards:
        guard.close()


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Give ``ask(guard, token, **requirement)``: the user id, with "stale" behind it, or the reason."""

    def ask(guard: Guard, token: str = TOKEN, **requirement: Any) -> str:
        wanted = Requirement(**requirement)
        try:
            if request.param == "sync":
                info = guard.check(token, wanted)
            else:
                info = asyncio.run(guard.acheck(token, wanted))
        except Refused as refused:
            return refused.reason
        return f"{info.user_id} stale" if info.stale else f"{info.user_id}"

    return ask


def view() -> None:
    pass


# -- stale_if_error ------------------------------------------------------------------------------------


def test_by_default_nothing_is_used_past_its_time(ask, make, graph, clock):
    guard = make()
    assert ask(guard) == "1001"
    graph.default = DOWN
    clock.advance(TTL - 0.5)
    assert ask(guard) == "1001"
    clock.advance(0.5)
    assert ask(guard) == "unavailable"


@pytest.mark.parametrize(
    "reply",
    [DOWN, Reply(b"{"), envelope(4), envelope(2), envelope(190), OSError()],
    ids=lambda one: repr(one)[:60],
)
def test_stale_while_graph_cannot_be_asked(ask, make, graph, clock, reply):
    guard = make(stale_if_error=50)
    assert ask(guard) == "1001"
    graph.default = reply
    clock.advance(TTL - 0.5)
    assert ask(guard) == "1001"
    assert len(graph.calls) == 1
    clock.advance(0.5)
    assert ask(guard) == "1001 stale"
    assert len(graph.calls) >= 2  # it was asked first
    clock.advance(49.5)
    assert ask(guard) == "1001 stale"
    clock.advance(0.5)
    assert ask(guard) in {"unavailable", "throttled"}


def test_as_soon_as_graph_answers_that_counts(ask, make, graph, clock):
    guard = make(stale_if_error=1000)
    ask(guard)
    clock.advance(TTL)
    graph.default = DOWN
    assert ask(guard) == "1001 stale"
    graph.default = valid(user_id="7")
    assert ask(guard) == "7"
    clock.advance(TTL)
    graph.default = dead(190, 463)
    assert ask(guard) == "expired"
    graph.default = DOWN
    assert ask(guard) == "expired"
    clock.advance(30)  # the no is over, too, and what was before it is gone
    assert ask(guard) == "unavailable"


def test_never_past_the_tokens_own_end(ask, make, graph, clock):
    guard = make(stale_if_error=1000)
    graph.default = valid(expires_at=NOW + 150)
    ask(guard)
    graph.default = DOWN
    clock.advance(149)
    assert ask(guard) == "1001 stale"
    clock.advance(1)
    assert ask(guard) == "expired"


@pytest.mark.parametrize("moved", ["wall", "mono"])
def test_either_clock_ends_the_grace(ask, make, graph, clock, moved):
    guard = make(stale_if_error=50)
    ask(guard)
    graph.default = DOWN
    setattr(clock, moved, getattr(clock, moved) + TTL + 49)
    assert ask(guard) == "1001 stale"
    setattr(clock, moved, getattr(clock, moved) + 1)
    assert ask(guard) == "unavailable"


@pytest.mark.parametrize(
    "reply", [dead(190, 463), valid(app_id="42"), valid(is_valid=False)], ids=["190", "app", "no"]
)
def test_a_no_is_never_stale(ask, make, graph, clock, reply):
    guard = make(stale_if_error=1000)
    graph.default = reply
    first = ask(guard)
    assert negatives(guard) == 1
    graph.default = DOWN
    clock.advance(29)
    assert ask(guard) == first
    clock.advance(1)
    assert ask(guard) == "unavailable"


def test_what_is_forgotten_is_not_stale(ask, make, graph, clock):
    guard = make(stale_if_error=1000)
    ask(guard)
    clock.advance(TTL)
    graph.default = DOWN
    assert ask(guard) == "1001 stale"
    guard.forget(Secret(TOKEN))
    assert ask(guard) == "unavailable"


def test_a_stale_fact_is_judged_like_any_other(ask, make, graph, clock):
    guard = make(stale_if_error=1000)
    ask(guard)
    clock.advance(TTL)
    graph.default = DOWN
    assert ask(guard, scopes=["email"]) == "1001 stale"
    assert ask(guard, scopes=["user_posts"]) == "insufficient_scope"
    assert ask(guard, min_remaining=3600 - TTL + 1) == "expires_soon"


@pytest.mark.parametrize(
    ("own", "route", "grace"), [(50, 0, 0), (50, 20, 20), (50, 80, 80), (0, 30, 30), (50, None, 50)]
)
def test_a_routes_own_grace(ask, make, graph, clock, own, route, grace):
    guard = make(stale_if_error=own)
    ask(guard)
    graph.default = DOWN
    clock.advance(TTL)
    if grace:
        assert ask(guard, stale_if_error=route) == "1001 stale"
        clock.advance(grace - 0.5)
        assert ask(guard, stale_if_error=route) == "1001 stale"
        clock.advance(0.5)
    assert ask(guard, stale_if_error=route) == "unavailable"


def test_routes_with_and_without_grace_beside_each_other(ask, make, graph, clock):
    guard = make()
    ask(guard)
    graph.default = DOWN
    clock.advance(TTL)
    assert ask(guard) == "unavailable"
    assert ask(guard, stale_if_error=30) == "1001 stale"  # which the other route has not thrown away
    assert ask(guard) == "unavailable"


@pytest.mark.parametrize("stale_if_error", [None, 1000])
def test_a_route_with_an_age_takes_no_older_fact(ask, make, graph, clock, stale_if_error):
    guard = make(stale_if_error=1000)
    ask(guard)
    graph.default = DOWN
    clock.advance(10)
    assert ask(guard, max_fact_age=11, stale_if_error=stale_if_error) == "1001"
    for age in (0, 5, 10):
        assert ask(guard, max_fact_age=age, stale_if_error=stale_if_error) == "unavailable"
    clock.advance(TTL)
    assert ask(guard, max_fact_age=1000, stale_if_error=stale_if_error) == "unavailable"
    assert ask(guard) == "1001 stale"


def test_the_strictest_of_door_and_view(door, make, graph, clock):
    guard = make(stale_if_error=50)
    lenient = door(guard, act=require_fb_token(stale_if_error=50)(view))
    strict = door(guard, act=require_fb_token(stale_if_error=0)(view))
    plain = door(guard, act=require_fb_token(view))
    fresh = door(guard, act=require_fb_token(max_fact_age=20)(view))
    assert lenient.send(TOKEN).status == 200
    graph.default = DOWN
    clock.advance(TTL)
    for one in (lenient, plain):
        answer = one.send(TOKEN)
        assert answer.status == 200
        assert answer.info.stale
    assert strict.send(TOKEN).status == 503
    assert fresh.send(TOKEN).status == 503


# -- max_fact_age --------------------------------------------------------------------------------------


def test_max_fact_age(ask, make, graph, clock):
    guard = make()
    assert ask(guard, max_fact_age=10) == "1001"
    clock.advance(9.5)
    assert ask(guard, max_fact_age=10) == "1001"
    assert len(graph.calls) == 1
    clock.advance(0.5)
    graph.default = valid(user_id="7")
    assert ask(guard) == "1001"
    assert ask(guard, max_fact_age=10) == "7"
    assert ask(guard) == "7"  # the younger fact is everybody's
    assert len(graph.calls) == 2


def test_zero_always_asks(ask, make, graph):
    guard = make()
    for count in range(1, 4):
        assert ask(guard, max_fact_age=0) == "1001"
        assert len(graph.calls) == count
    graph.default = dead(190, 460)
    assert ask(guard, max_fact_age=0) == "password_changed"
    assert ask(guard) == "password_changed"


def test_an_age_longer_than_the_ttl_prolongs_nothing(ask, make, graph, clock):
    guard = make()
    ask(guard)
    clock.advance(TTL)
    assert ask(guard, max_fact_age=10_000) == "1001"
    assert len(graph.calls) == 2


def test_it_holds_for_noes_too(ask, make, graph, clock):
    guard = make()
    graph.default = dead(190)
    ask(guard)
    graph.default = valid()
    assert ask(guard) == "invalid_token"
    assert ask(guard, max_fact_age=0) == "1001"
    assert (positives(guard), negatives(guard)) == (1, 0)


def test_askers_at_once_share_a_flight(make, graph):
    async def main() -> None:
        guard = make()
        await guard.acheck(TOKEN)
        graph.gate.shut()
        tasks = [asyncio.create_task(guard.acheck(TOKEN, Requirement(max_fact_age=0))) for _ in range(50)]
        await until(lambda: len(graph.calls) == 2)
        assert (await guard.acheck(TOKEN)).user_id == "1001"  # who asks for no age does not wait
        graph.gate.open()
        assert {info.user_id for info in await asyncio.gather(*tasks)} == {"1001"}
        assert len(graph.calls) == 2
        await guard.aclose()

    asyncio.run(main())


def test_a_views_age_under_a_door(door, make, graph, clock):
    guard = make()
    always = door(guard, act=require_fb_token(max_fact_age=0)(view))
    recent = door(guard, act=require_fb_token(max_fact_age=10)(view))
    anyhow = door(guard, act=require_fb_token(view))
    assert anyhow.send(TOKEN).status == recent.send(TOKEN).status == 200
    assert len(graph.calls) == 1
    assert always.send(TOKEN).status == 200
    assert len(graph.calls) == 2
    clock.advance(10)
    assert anyhow.send(TOKEN).status == 200
    assert len(graph.calls) == 2
    assert recent.send(TOKEN).status == recent.send(TOKEN).status == 200
    assert len(graph.calls) == 3
    graph.default = dead(190, 463)
    answer = always.send(TOKEN)
    assert (answer.status, answer.reason) == (401, "expired")
    assert anyhow.send(TOKEN).status == 401


def test_a_views_age_while_graph_is_down(door, make, graph, clock):
    guard = make()
    always = door(guard, act=require_fb_token(max_fact_age=0)(view))
    assert door(guard).send(TOKEN).status == 200
    graph.default = DOWN
    answer = always.send(TOKEN)
    assert (answer.status, answer.reason) == (503, "unavailable")
    assert door(guard).send(TOKEN).status == 200


# -- refresh_ahead -------------------------------------------------------------------------------------


def test_a_hit_near_the_end_asks_in_the_background(ask, make, graph, clock):
    guard = make(refresh_ahead=0.8)
    ask(guard)
    clock.advance(79.5)
    assert ask(guard) == "1001"
    assert len(graph.calls) == 1
    clock.advance(0.5)
    graph.default = valid(user_id="7")
    graph.gate.shut()
    assert [ask(guard) for _ in range(20)] == ["1001"] * 20  # nobody waits
    graph.wait_for_calls(2)
    assert len(graph.calls) == 2
    graph.gate.open()
    wait_until(lambda: guard.peek(TOKEN).user_id == "7")
    clock.advance(79.5)  # from when it was stored
    assert ask(guard) == "7"
    assert len(graph.calls) == 2


@pytest.mark.parametrize("reply", [DOWN, envelope(4), OSError()], ids=["500", "throttled", "no network"])
def test_a_refresh_that_fails_leaves_the_fact_its_time(ask, make, graph, clock, reply):
    guard = make(refresh_ahead=0.5)
    ask(guard)
    graph.default = reply
    clock.advance(50)
    assert ask(guard) == "1001"
    wait_until(lambda: len(graph.calls) > 1 and not guard._look_ups._refreshing)
    clock.advance(49.5)
    assert ask(guard) == "1001"
    wait_until(lambda: not guard._look_ups._refreshing)
    clock.advance(0.5)
    assert ask(guard) in {"unavailable", "throttled"}


def test_a_refresh_that_fails_is_tried_again(ask, make, graph, clock):
    guard = make(refresh_ahead=0.5)
    ask(guard)
    graph.default = DOWN
    clock.advance(50)
    ask(guard)
    wait_until(lambda: len(graph.calls) == 2 and not guard._look_ups._refreshing)
    graph.default = valid(user_id="7")
    ask(guard)
    wait_until(lambda: guard.peek(TOKEN).user_id == "7")


def test_a_no_replaces_the_fact(ask, make, graph, clock):
    guard = make(refresh_ahead=0.5)
    ask(guard)
    graph.default = dead(190, 460)
    clock.advance(50)
    assert ask(guard) == "1001"
    wait_until(lambda: negatives(guard))
    assert ask(guard) == "password_changed"
    assert positives(guard) == 0


@pytest.mark.parametrize("reply", [dead(190), valid(is_valid=False)], ids=["190", "no"])
def test_noes_are_not_refreshed(ask, make, graph, clock, reply):
    guard = make(refresh_ahead=0.01)
    graph.default = reply
    ask(guard)
    clock.advance(29)
    ask(guard)
    assert not guard._look_ups._refreshing
    assert len(graph.calls) == 1


def test_without_it_nothing_is_refreshed(ask, make, graph, clock):
    guard = make()
    ask(guard)
    clock.advance(99.5)
    ask(guard)
    assert not guard._look_ups._refreshing
    assert len(graph.calls) == 1


def test_a_refresh_at_the_end_of_the_guard(make, graph, clock):
    guard = make(refresh_ahead=0.5)
    guard.check(TOKEN)
    clock.advance(50)
    graph.gate.shut()
    guard.check(TOKEN)
    graph.wait_for_calls(2)
    guard.close()
    wait_until(lambda: not guard._look_ups._refreshing)
    graph.gate.open()


@pytest.mark.parametrize("option", ["refresh_ahead", "stale_if_error"])
@pytest.mark.parametrize("wrong", [-0.1, float("nan"), float("inf"), True, "1", None])
def test_wrong_options(make, option, wrong):
    with pytest.raises((TypeError, ValueError), match=option):
        make(**{option: wrong})


@pytest.mark.parametrize("wrong", [1, 1.5])
def test_refresh_ahead_is_a_fraction(make, wrong):
    with pytest.raises(ValueError, match="refresh_ahead"):
        make(refresh_ahead=wrong)


# -- many facts ----------------------------------------------------------------------------------------


def fill(cache: FactCache, count: int, *, good: bool = True) -> list[bytes]:
    info = TokenInfo(app_id="42", type="USER", is_valid=good)
    keys = [key_of(Secret(f"token {number}")) for number in range(count)]
    for key in keys:
        cache.put(key, info, good=good)
    return keys


def ends(cache: FactCache, clock: FakeClock, keys: list[bytes], ttl: float) -> list[int]:
    """Return how many of the facts are left at each percent of the ttl, from 89 on."""
    left = []
    clock.advance(ttl * 0.89)
    for _ in range(12):
        left.append(sum(cache.get(key) is not None for key in keys))
        clock.advance(ttl * 0.01)
    return left


@pytest.mark.parametrize("good", [True, False])
def test_many_facts_end_one_after_the_other(clock, good):
    cache = FactCache(clock, ttl=TTL, negative_ttl=TTL, size=50_000, negative_size=50_000)
    keys = fill(cache, 11_000, good=good)
    left = ends(cache, clock, keys, TTL)
    assert left[0] == 11_000
    assert left[11] == 0
    steps = [before - after for before, after in pairwise(left[1:])]
    assert all(700 < step < 2500 for step in steps), steps


def test_few_facts_end_together(clock):
    cache = FactCache(clock, ttl=TTL, negative_ttl=30, size=50_000, negative_size=50)
    keys = fill(cache, 1000)
    assert ends(cache, clock, keys, TTL) == [1000] * 11 + [0]


def test_a_token_has_the_same_part_of_the_time_each_time(clock):
    cache = FactCache(clock, ttl=TTL, negative_ttl=30, size=50_000, negative_size=50)
    keys = fill(cache, 2000)[1000:]
    clock.advance(95)
    first = [cache.get(key) is not None for key in keys]
    fill(cache, 2000)
    clock.advance(95)
    assert [cache.get(key) is not None for key in keys] == first
    assert 0 < sum(first) < 1000
