"""Defects that were found while reading other guards: one test each, named after the defect.

The comment above a test says whose guard it was, and what it did.
"""

from __future__ import annotations

import asyncio
import logging
import random
import string
import time
from collections.abc import Callable, Iterator
from traceback import walk_tb
from types import TracebackType
from typing import Any

import httpx
import pytest

from fbguard import Guard, Policy, Refused, Rule, require_fb_token
from tests.facebook.raw_server import Server
from tests.support import (
    APP_ID,
    PATIENCE,
    TOKEN,
    FakeClock,
    FakeGraph,
    MovableLoop,
    Reply,
    call_asgi,
    dead,
    envelope,
    http_scope,
    make_guard,
    until,
    valid,
)

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

DOWN = Reply(b"<html>Sorry", 500, (("Content-Type", "text/html"),))
Make = Callable[..., Guard]


@pytest.fixture
def make(graph: FakeGraph, clock: FakeClock) -> Iterator[Make]:
    guards: list[Guard] = []

    def make(**options: Any) -> Guard:
        guards.append(make_guard(graph, clock, **options))
        return guards[-1]

    yield make
    for guard in guards:
        guard.close()


def status_of(guard: Guard, token: str = TOKEN) -> int:
    """Return what a request with the token would be answered with."""
    try:
        guard.check(token)
    except Refused as refused:
        return refused.status
    return 200


class Stumbling(FakeGraph):
    """Refuses the first so many connections."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.tried = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.tried += 1
        if self.tried <= self.times:
            raise httpx.ConnectError("refused", request=request)
        return await super().handle_async_request(request)


# oathkeeper: a time-out was multiplied by its unit twice ("500ms" became 139 hours) ...
def test_a_timeout_in_another_unit_than_it_says(make):
    with Server(lambda _request: []) as black_hole:
        guard = make(transport=None, graph_url=black_hole.url, deadline=0.3)
        begun = time.monotonic()
        assert status_of(guard) == 503
        took = time.monotonic() - begun
        guard.close()
    assert 0.25 < took < PATIENCE


# ... and then the transport that tries again was replaced by one that does not.
@pytest.mark.parametrize(("times", "status", "tried"), [(0, 200, 1), (1, 200, 2), (2, 503, 2)])
def test_a_retry_that_a_custom_transport_switches_off(make, times, status, tried):
    graph = Stumbling(times)
    assert status_of(make(transport=graph)) == status
    assert graph.tried == tried


def test_a_503_of_graph_is_not_repeated_at_once_but_by_the_next_request(make, graph):
    guard = make()
    graph.default = Reply(b"", 503)
    assert status_of(guard) == 503
    assert graph.calls == [TOKEN]  # it was answered: a second call might only add to Graph's load
    graph.default = valid()
    assert status_of(guard) == 200
    assert graph.calls == [TOKEN] * 2


# oathkeeper: one ttl for the whole instance, of the route whose configuration was read last.
def test_a_ttl_of_one_route_for_all_routes(door, make, graph, clock):
    rules = Policy(Rule("/short", max_fact_age=10), Rule("/long", max_fact_age=50))
    guard = make(ttl=1000)
    behind = door(guard, policy=rules)
    asked = []
    for path in ("/long", "/short", "/other", "/long", "/short"):
        assert behind.send(TOKEN, path).status == 200
        asked.append(len(graph.calls))
        clock.advance(9)
    assert asked == [1, 1, 1, 1, 2]  # at 36 s: too old for the short one alone
    assert behind.send(TOKEN, "/long").status == 200
    assert len(graph.calls) == 2


def test_a_ttl_of_one_guard_for_all_guards(make, graph, clock):
    short, long = make(ttl=10), make(ttl=100)
    assert status_of(long) == status_of(short) == 200
    clock.advance(50)
    assert status_of(long) == 200
    assert len(graph.calls) == 2
    assert status_of(short) == 200
    assert len(graph.calls) == 3


# heimdall: the longest wait was passed on as the shortest, and the time to give up as the longest wait.
@pytest.mark.parametrize(
    ("options", "reply", "holds"),
    [
        ({"ttl": 20}, valid(), 20),
        ({"negative_ttl": 7}, dead(190, 463), 7),
        ({"ttl": 20, "stale_if_error": 15}, valid(), 35),
    ],
    ids=["ttl", "negative_ttl", "stale_if_error"],
)
def test_a_time_that_is_another_time_than_its_name_says(make, graph, clock, options, reply, holds):
    guard = make(**options)
    graph.default = reply
    before = status_of(guard)
    graph.default = DOWN
    clock.advance(holds - 0.5)
    assert status_of(guard) == before
    clock.advance(0.5)
    assert status_of(guard) == 503


def test_a_deadline_that_is_no_deadline(graph, clock):
    async def main() -> None:
        loop = asyncio.get_running_loop()
        guard = make_guard(graph, clock, deadline=8)
        graph.gate.shut()
        task = asyncio.create_task(guard.acheck(TOKEN))
        await until(lambda: graph.calls)
        loop.advance(7.5)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not task.done()
        loop.advance(0.5)
        with pytest.raises(Refused) as refused:
            await asyncio.wait_for(task, PATIENCE)
        assert refused.value.reason == "unavailable"
        await guard.aclose()

    with asyncio.Runner(loop_factory=MovableLoop) as runner:
        runner.run(main())


def test_a_pace_that_is_another_pace_than_its_name_says(make, graph, clock):
    guard = make(max_calls_per_second=0.05)
    statuses = []
    for number in range(9):
        statuses.append(status_of(guard, f"EAA{number}"))
        clock.advance(5)
    assert statuses == [200, 503, 503, 503, 200, 503, 503, 503, 200]


# django-oauth-toolkit: each call added its scopes to a list that all calls shared.
def test_scopes_that_grow_with_every_call(door, make, graph):
    graph.replies = {"EAAreads": valid(scopes=["email"]), "EAAwrites": valid(scopes=["pages_manage_posts"])}
    rules = Policy(
        Rule("/", methods=["GET"], scopes=["email"]),
        Rule("/", methods=["POST"], scopes=["pages_manage_posts"]),
    )
    behind = door(make(), policy=rules)
    answers = set()
    for _ in range(250):
        for method in ("GET", "POST"):
            for token in ("EAAreads", "EAAwrites"):
                answer = behind.send(token, method=method)
                answers.add((method, token, answer.status, answer.challenge.partition("scope=")[2]))
    assert sorted(answers) == [
        ("GET", "EAAreads", 200, ""),
        ("GET", "EAAwrites", 403, '"email", relogin="login"'),
        ("POST", "EAAreads", 403, '"pages_manage_posts", relogin="login"'),
        ("POST", "EAAwrites", 200, ""),
    ]


def test_scopes_of_a_decorator_that_grow_with_every_call(door, make, graph):
    graph.default = valid(scopes=["email"])

    @require_fb_token(scopes=["email"])
    def reads() -> None:
        pass

    @require_fb_token(scopes=["pages_manage_posts"])
    def writes() -> None:
        pass

    guard = make()
    reading, writing = door(guard, act=reads), door(guard, act=writes)
    seen = {(reading.send(TOKEN).status, writing.send(TOKEN).status) for _ in range(1000)}
    assert seen == {(200, 403)}


# django-oauth-toolkit: `header.split()[1]`, of a header that is "Bearer".
def test_a_header_that_crashes_the_guard(door, make, graph):
    behind = door(make())
    dice = random.Random(3)
    words = ["Bearer", "bearer", "Basic", "", " ", "\t", ",", "=", TOKEN, "é", "\x00", '"', "EAA.b.c", "|"]
    letters = string.printable + "\xa0\x85\xff"
    headers = ["Bearer", "Bearer ", "Bearer  ", "", " ", "Bearer\t", "Bearer =", "Bearer , Bearer"]
    headers += [dice.choice((" ", "")).join(dice.choices(words, k=dice.randint(0, 5))) for _ in range(200)]
    headers += ["".join(dice.choices(letters, k=dice.randint(0, 40))) for _ in range(100)]
    headers += ["Bearer " + "".join(dice.choices(letters, k=dice.randint(0, 40))) for _ in range(100)]
    for header in headers:
        answer = behind.send(headers=[("Authorization", header)])
        assert answer.status in {200, 400, 401}, header
        assert answer.ran == (answer.status == 200), header
    assert behind.send(TOKEN).status == 200


# IdentityModel: the look-ups under way of all schemes were in one table, by token alone.
def test_look_ups_under_way_that_two_guards_share(make, graph):
    async def main() -> None:
        ours, theirs = make(), make(app_id="777")
        graph.gate.shut()
        tasks = [asyncio.create_task(one.acheck(TOKEN)) for one in (ours, theirs, ours, theirs)]
        await until(lambda: len(graph.calls) == 2)
        for _ in range(20):
            await asyncio.sleep(0)
        graph.gate.open()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [getattr(one, "status", 200) for one in outcomes] == [200, 401, 200, 401]
        assert outcomes[0].app_id == APP_ID
        assert outcomes[1].reason == "wrong_app"
        assert graph.calls == [TOKEN] * 2
        for guard in (ours, theirs):
            await guard.aclose_here()

    asyncio.run(main())


# authkit: the look-up ran in the context of whoever asked first, and died with him.
@pytest.mark.parametrize("kind", ["asgi", "starlette"])
def test_followers_that_fall_with_their_leader(make_door, make, graph, kind):
    behind = make_door(kind, make())

    async def main() -> None:
        graph.gate.shut()
        leader, *followers = [
            asyncio.create_task(
                call_asgi(behind.app, http_scope(headers=[("Authorization", f"Bearer {TOKEN}")]))
            )
            for _ in range(20)
        ]
        await until(lambda: graph.calls)
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        graph.gate.open()
        assert {answer.status for answer in await asyncio.gather(*followers)} == {200}

    asyncio.run(main())
    assert graph.calls == [TOKEN]


# fastmcp: good and bad answers shared one queue, and a missing scope was remembered as a bad token.
def test_garbage_that_pushes_out_good_tokens(make, graph):
    garbage = [f"EAAgarbage{number}" for number in range(5000)]

    async def main() -> None:
        guard = make(cache_size=10, negative_cache_size=100, deadline=PATIENCE * 6)
        await guard.acheck(TOKEN)
        graph.default = dead(190, message="Malformed access token")
        for start in range(0, len(garbage), 500):
            found = await asyncio.gather(
                *map(guard.acheck, garbage[start : start + 500]), return_exceptions=True
            )
            assert {getattr(one, "status", 200) for one in found} == {401}
            assert (await guard.acheck(TOKEN)).user_id == "1001"
        assert guard.health().cached == 101
        await guard.aclose()

    asyncio.run(main())
    assert graph.calls.count(TOKEN) == 1


def test_a_missing_scope_that_is_remembered_as_a_bad_token(door, make, graph):
    behind = door(make(), policy=Policy(Rule("/posts", scopes=["pages_manage_posts"])))
    assert [behind.send(TOKEN, path).status for path in ("/posts", "/", "/posts", "/")] == [
        403,
        200,
        403,
        200,
    ]
    assert graph.calls == [TOKEN]


# quarkus: a cache that was full was emptied.
def test_a_full_cache_that_forgets_everybody(make, graph):
    guard = make(cache_size=100)
    hot = [f"EAAhot{number}" for number in range(50)]
    for token in (*hot, *(f"EAAcold{number}" for number in range(50))):
        guard.check(token)
    for token in hot:
        guard.check(token)
    for number in range(20):
        guard.check(f"EAAone-too-many{number}")
        for token in hot:
            guard.check(token)
    assert guard.health().cached == 100
    asked_again = sum(graph.calls.count(token) - 1 for token in hot)
    assert 1 - asked_again / (20 * len(hot)) > 0.95


# flask-jwt-extended: 422 for a bad token.
@pytest.mark.parametrize(
    ("reply", "headers", "status"),
    [
        (valid(), [], 401),
        (valid(), [("Authorization", "Bearer not a token")], 401),
        (valid(), [("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")], 400),
        (dead(190, 463), [("Authorization", f"Bearer {TOKEN}")], 401),
        (valid(app_id="9"), [("Authorization", f"Bearer {TOKEN}")], 401),
        (valid(scopes=[]), [("Authorization", f"Bearer {TOKEN}")], 403),
        (valid(is_valid="true"), [("Authorization", f"Bearer {TOKEN}")], 503),
        (DOWN, [("Authorization", f"Bearer {TOKEN}")], 503),
    ],
)
def test_a_status_that_no_client_expects(door, make, graph, reply, headers, status):
    graph.default = reply
    answer = door(make(), policy=Policy(Rule("/", scopes=["email"]))).send(headers=headers)
    assert (answer.status, answer.ran) == (status, False)
    assert bool(answer.challenge) == (status in {400, 401, 403})


# lua-resty-openidc: the token itself was the key of the cache, and stood in the debug log.
def test_a_token_in_logs_cache_dumps_and_tracebacks(make, graph, caplog):
    guard = make()
    tokens = {f"EAAsecret{name}": reply for name, reply in (
        ("Good", valid()), ("Dead", dead(190, 463)), ("Other", DOWN), ("Lost", httpx.ReadError("reset")),
    )}  # fmt: skip
    graph.replies = dict(tokens)
    texts = []
    with caplog.at_level(logging.DEBUG):
        for token in tokens:
            try:
                texts.append(repr(guard.check(token)))
            except Refused as refused:
                texts += [
                    repr(refused),
                    str(refused),
                    repr(refused.answer()),
                    *locals_of(refused.__traceback__),
                ]
                texts += [repr(refused.__cause__), repr(refused.__context__)]
    cache = guard._validator._cache
    stored = {**cache._good.entries, **cache._bad.entries}
    assert len(stored) == 2
    texts += [repr(guard), repr(vars(guard)), repr(stored), caplog.text]
    texts += [repr(entry.info) for entry in stored.values()]
    texts += [repr(vars(record)) for record in caplog.records if record.name.startswith("fbguard")]
    assert not [text for text in texts if "EAAsecret" in text]
    assert not [key for key in stored if b"EAAsecret" in key]


def locals_of(traceback: TracebackType | None) -> list[str]:
    """Return what a debug page would show of our frames."""
    return [
        repr(frame.f_locals)
        for frame, _ in walk_tb(traceback)
        if frame.f_globals["__name__"].startswith("fbguard")
    ]


# facebook-php-sdk: every code that it did not know became "authentication failed", if the type was right.
@pytest.mark.parametrize("kind", ["OAuthException", "GraphMethodException", "FacebookApiException", ""])
@pytest.mark.parametrize("subcode", [None, 463, 2446079])
def test_a_throttle_or_an_unknown_code_that_logs_people_out(make, graph, kind, subcode):
    for code in (1, 2, 4, 17, 32, 341, 613, 368, 80_001, 99_999):
        top = envelope(code, subcode)
        graph.default = Reply(top.body.replace(b"OAuthException", kind.encode()), top.status)
        assert status_of(make()) == 503, code


@pytest.mark.parametrize("code", [1, 2, 4, 17, 32, 341, 613])
@pytest.mark.parametrize("subcode", [None, 463])
def test_a_throttle_about_one_token_that_logs_its_owner_out(make, graph, code, subcode):
    graph.default = dead(code, subcode)
    assert status_of(make()) == 503


# django-allauth: `raise_for_status()` made a bad token of an outage.
@pytest.mark.parametrize("status", [403, 404, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("body", [b"", b"<html>Sorry", b"{}"])
def test_an_outage_that_looks_like_a_bad_token(door, make, graph, clock, status, body):
    graph.default = Reply(body, status, (("Content-Type", "text/html"),))
    behind = door(make())
    answer = behind.send(TOKEN)
    assert (answer.status, answer.ran, answer.challenge) == (503, False, "")
    assert answer.json["relogin"]["url"] is None
    graph.default = valid()
    clock.advance(int(answer.header("retry-after")))
    assert behind.send(TOKEN).status == 200
