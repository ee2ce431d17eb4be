"""``miss_limit``: look-ups of unknown tokens a client, through the doors and in views."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fbguard import Guard, Policy, Rule, asgi, require_fb_token
from tests.conftest import Door
from tests.support import (
    TOKEN,
    Answer,
    FakeClock,
    FakeGraph,
    Reply,
    call_asgi,
    call_wsgi,
    dead,
    http_scope,
    make_guard,
    until,
    valid,
    wsgi_environ,
)

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

PEER = "192.0.2.1"
PROXY = "10.0.0.1"


def view() -> None:
    pass


# Where the token is looked at: by the door, or by the view behind a door that guards nothing.
PLACES = {
    "door": {},
    "view": {"policy": None, "act": require_fb_token(view)},
    "public": {"policy": Policy(Rule("/{rest:path}", public=True)), "act": require_fb_token(view)},
}


@pytest.fixture
def make(graph: FakeGraph, clock: FakeClock) -> Iterator[Callable[..., Guard]]:
    guards: list[Guard] = []

    def make(count: int = 3, seconds: float = 30, **options: Any) -> Guard:
        guards.append(make_guard(graph, clock, miss_limit=(count, seconds), **options))
        return guards[-1]

    yield make
    for guard in guards:
        guard.close()


def send(door: Door, token: str | None, peer: str | None = PEER, *forwarded: str) -> Answer:
    """Send a request from a peer."""
    headers = [("X-Forwarded-For", value) for value in forwarded]
    if token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    if door._runner is not None:
        client = None if peer is None else (peer, 50_000)
        return door._runner.run(call_asgi(door.app, http_scope(headers=headers, client=client)))
    environ = wsgi_environ(headers=headers, **({} if peer is None else {"REMOTE_ADDR": peer}))
    return call_wsgi(door.app, environ)


def cold(count: int, start: int = 0) -> list[str]:
    return [f"EAAcold{number}" for number in range(start, start + count)]


def statuses(door: Door, peer: str | None = PEER, *forwarded: str, start: int = 0) -> list[int]:
    return [send(door, token, peer, *forwarded).status for token in cold(5, start)]


LIMITED = [200, 200, 200, 429, 429]


@pytest.mark.parametrize("place", PLACES)
def test_too_many(door, make, graph, clock, place):
    asking = door(make(), **PLACES[place])
    assert statuses(asking) == LIMITED
    assert len(graph.calls) == 3
    clock.advance(2.5)
    answer = send(asking, "EAAone-more")
    assert (answer.status, answer.reason) == (429, "too_many_lookups")
    assert answer.header("retry-after") == "8"  # 7.5 seconds
    assert answer.header("www-authenticate") is None
    assert answer.header("cache-control") == "no-store"
    assert answer.json["relogin"] == {
        "action": "wait",
        "url": None,
        "auth_type": None,
        "scopes": [],
        "retry_after": 8,
        "message": answer.json["relogin"]["message"],
    }
    clock.advance(7.5)
    assert statuses(asking, start=10) == [200, 429, 429, 429, 429]
    assert len(graph.calls) == 4


@pytest.mark.parametrize("place", PLACES)
def test_known_tokens_are_not_counted(door, make, graph, clock, place):
    asking = door(make(1, 3600), **PLACES[place])
    assert send(asking, TOKEN).status == 200
    assert [send(asking, TOKEN).status for _ in range(20)] == [200] * 20
    assert send(asking, "EAAcold").status == 429
    assert send(asking, TOKEN).status == 200
    clock.advance(300)  # its fact is over: it is looked up again, and no stranger for that
    assert send(asking, TOKEN).status == 200
    assert len(graph.calls) == 2


def test_known_noes_are_not_counted_while_they_are_known(door, make, graph, clock):
    asking = door(make(1, 60))
    graph.default = dead(190)
    assert [send(asking, TOKEN).status for _ in range(5)] == [401] * 5
    clock.advance(30)  # a no that is over says nothing for the next look-up
    assert send(asking, TOKEN).status == 429


def test_old_facts_that_a_view_wants_anew_are_not_counted(door, make, graph):
    asking = door(make(1, 3600), act=require_fb_token(max_fact_age=0)(view))
    assert [send(asking, TOKEN).status for _ in range(3)] == [200] * 3
    assert len(graph.calls) == 4


def test_what_is_never_looked_up_is_not_counted(door, make, graph):
    asking = door(make(1, 3600))
    for token in (None, "a,b", "app|secret", "eyJ.a.b", "x" * 5000):
        assert send(asking, token).status in {400, 401}
    assert send(asking, TOKEN).status == 200


def test_dont_knows_are_counted(door, make, graph):
    asking = door(make(3, 3600))
    graph.default = Reply(b"", 500)
    assert [send(asking, TOKEN).status for _ in range(5)] == [503, 503, 503, 429, 429]


def test_each_client_for_itself(door, make):
    asking = door(make())
    assert statuses(asking) == LIMITED
    assert statuses(asking, "192.0.2.2", start=10) == LIMITED
    assert statuses(asking, "2001:db8::1", start=20) == LIMITED
    assert statuses(asking, "2001:db8::2", start=30) == [429] * 5
    assert statuses(asking, "2001:db8:0:1::1", start=40) == LIMITED
    assert statuses(asking, f"::ffff:{PEER}", start=50) == [429] * 5


def test_doors_and_views_share_what_is_counted(make, make_door, graph):
    guard = make()
    asgi, wsgi = make_door("starlette", guard), make_door("flask", guard, **PLACES["view"])
    assert [send(door, token).status for token in cold(3) for door in (asgi, wsgi)] == [200] * 6
    assert send(asgi, "EAAcold8").status == send(wsgi, "EAAcold9").status == 429
    assert len(graph.calls) == 3


@pytest.mark.parametrize("place", PLACES)
def test_a_trusted_proxy(door, make, place):
    asking = door(make(trusted_proxies=("10.0.0.0/8",)), **PLACES[place])
    assert statuses(asking, PROXY, "198.51.100.1") == LIMITED
    assert statuses(asking, PROXY, "198.51.100.2", start=10) == LIMITED
    for number in range(5):  # the left part is the client's own
        spoofed = f"203.0.113.{number}, 198.51.100.1"
        assert send(asking, "EAAspoofed", PROXY, spoofed).status == 429
        assert (
            send(asking, "EAAspoofed", PROXY, f"203.0.113.{number}", "198.51.100.1, 10.0.0.2").status == 429
        )
    assert send(asking, "EAAspoofed", "10.9.9.9", "198.51.100.1").status == 429  # by another of our proxies
    assert send(asking, "EAAspoofed", "198.51.100.1").status == 429  # around them
    assert send(asking, "EAAspoofed", PROXY, "198.51.100.3").status == 200


def test_the_header_of_anybody_else(door, make):
    asking = door(make(trusted_proxies=("10.0.0.0/8",)))
    answers = [send(asking, token, PEER, f"198.51.100.{i}") for i, token in enumerate(cold(5))]
    assert [answer.status for answer in answers] == LIMITED
    asking = door(make())  # nobody is trusted
    answers = [send(asking, token, PROXY, f"198.51.100.{i}") for i, token in enumerate(cold(5, 10))]
    assert [answer.status for answer in answers] == LIMITED


def test_without_an_address(door, make):
    asking = door(make())
    assert statuses(asking, None) == [200] * 5
    assert statuses(asking, None, "198.51.100.1", start=10) == [200] * 5
    asking = door(make(trusted_proxies=["10.0.0.0/8"]))  # a proxy behind a Unix socket
    assert statuses(asking, None, "198.51.100.1", start=20) == LIMITED


def test_checks_by_hand_are_not_limited(make, graph):
    guard = make(1, 3600)
    for token in cold(10):
        assert guard.check(token).user_id == "1001"
    assert len(graph.calls) == 10


def test_without_the_option_there_is_no_limit(door, guard):
    asking = door(guard)
    assert [send(asking, token).status for token in cold(200)] == [200] * 200


@pytest.mark.parametrize(
    "wrong",
    [
        5, "5", (), (1,), (1, 2, 3), {1: 2}, {1, 2}, "ab", (0, 1), (-1, 1), (1.5, 1), (True, 1), (None, 1),
        ("1", 1), (1, 0), (1, -1), (1, float("nan")), (1, float("inf")), (1, "1"), (1, True), (1, None),
    ],
)  # fmt: skip
def test_wrong_limits(wrong):
    with pytest.raises((TypeError, ValueError), match="miss_limit"):
        make_guard(miss_limit=wrong)


@pytest.mark.parametrize(
    "wrong", ["10.0.0.0/8", 10, None, ("10.0.0.1/8",), ("10.0.0.0/33",), ("proxy.example",), ("",), (None,)]
)
def test_wrong_proxies(wrong):
    with pytest.raises((TypeError, ValueError), match="trusted_proxies"):
        make_guard(miss_limit=(1, 1), trusted_proxies=wrong)


def test_proxies_without_a_limit():
    with pytest.raises(ValueError, match="trusted_proxies has no effect without miss_limit"):
        make_guard(trusted_proxies=("10.0.0.0/8",))


@pytest.mark.parametrize("right", [(1, 1), [5, 0.5]])
@pytest.mark.parametrize("proxies", [(), ["10.0.0.0/8", "::1", "fd00::/8"]])
def test_right_options(right, proxies):
    make_guard(miss_limit=right, trusted_proxies=proxies).close()


def test_a_flood_of_invented_tokens_costs_no_more_than_the_limit(door, make, graph):
    asking = door(make(10, 60))
    known = send(asking, TOKEN)
    graph.default = dead(190)
    for token in cold(300):
        send(asking, token)
    assert len(graph.calls) == 10
    assert known.status == send(asking, TOKEN).status == 200
    graph.default = valid()
    assert send(asking, "EAAsomebody-else", "192.0.2.77").status == 200


def test_who_hangs_up_has_had_the_look_up(make, graph):
    """Who comes back for the token pays again, as who comes back after an answer does."""

    async def main() -> None:
        guard = make(2, 3600)
        app = asgi.FBTokenMiddleware(never_reached, guard, policy=Policy())
        scope = http_scope(headers=[("Authorization", f"Bearer {TOKEN}")], client=(PEER, 50_000))
        graph.gate.shut()
        for _ in range(2):
            task = asyncio.create_task(call_asgi(app, scope))
            await until(lambda: graph.calls)
            for _ in range(10):  # turns of the loop, until it waits for the answer
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (await call_asgi(app, scope)).status == 429
        assert len(graph.calls) == 1  # the look-up itself goes on
        await guard.aclose()
        graph.gate.open()

    asyncio.run(main())


async def never_reached(scope: object, receive: object, send: object) -> None:
    raise AssertionError("nobody gets here")
