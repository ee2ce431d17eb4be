"""The floor is an honest one: it refuses what fbguard's doors refuse, with the same status."""

import asyncio
from contextlib import suppress

import pytest

from benchmarks import floor
from benchmarks.floor import AsgiFloor, Judge, WsgiFloor, facts_of_request
from benchmarks.requests import Request
from benchmarks.sides import AsgiSide, WsgiSide, asgi_app, wsgi_app
from fbguard import Policy, Refused, Requirement, Rule, current_token
from fbguard.asgi import FBTokenMiddleware as AsgiDoor
from fbguard.core.rule import is_plain
from fbguard.wsgi import FBTokenMiddleware as WsgiDoor
from tests.support import APP_ID, NOW, TOKEN, FakeClock, FakeGraph, make_guard, valid

TTL = 300.0
OTHER_APP = "EAABotherApp"
DEAD = "EAABdead"
PAGE = "EAABpage"
LAPSED = "EAABlapsed"
REPLIES = {
    TOKEN: valid(),
    OTHER_APP: valid(app_id="999"),
    DEAD: valid(is_valid=False),
    PAGE: valid(type="PAGE", profile_id="111"),
    LAPSED: valid(data_access_expires_at=NOW),
}
POLICY = Policy(
    Rule("/public", public=True),
    Rule("/scoped", scopes=["email", "public_profile"]),
    Rule("/missing", scopes=["user_friends"]),
    Rule("/verbs", methods=["GET"]),
    Rule("/verbs", methods=["POST"], scopes=["user_friends"]),
)
GOOD = ("Authorization", f"Bearer {TOKEN}")


def bearer(token):
    return ("Authorization", f"Bearer {token}")


# what, the path, the method, the headers, the status
ROWS = [
    ("a good token", "/", "GET", [GOOD], 200),
    ("any case of the scheme", "/", "GET", [("Authorization", f"bEARER {TOKEN}")], 200),
    ("white space around the value", "/", "GET", [("Authorization", f" \tBearer {TOKEN}\t ")], 200),
    ("a scope that is there", "/scoped", "GET", [GOOD], 200),
    ("a dot where it is harmless", "/.well-known/x..y", "GET", [GOOD], 200),
    ("a letter outside ASCII", "/caf\u00e9", "GET", [GOOD], 200),
    ("public", "/public", "GET", [], 200),
    ("public, with a trailing slash", "/public/", "HEAD", [], 200),
    ("public, whatever it carries", "/public", "GET", [GOOD, GOOD], 200),
    ("no token", "/", "GET", [], 401),
    ("no token, beside a public route", "/public/more", "GET", [], 401),
    ("two headers", "/", "GET", [GOOD, GOOD], 400),
    ("two headers, one of them empty", "/", "GET", [GOOD, ("Authorization", "")], 400),
    ("two joined by a comma", "/", "GET", [("Authorization", f"Bearer {TOKEN}, Bearer {TOKEN}")], 400),
    ("a comma after the token", "/", "GET", [bearer(f"{TOKEN},")], 400),
    ("another scheme", "/", "GET", [("Authorization", f"Basic {TOKEN}")], 401),
    ("no scheme", "/", "GET", [("Authorization", TOKEN)], 401),
    ("an empty value", "/", "GET", [("Authorization", "")], 401),
    ("no token behind the scheme", "/", "GET", [("Authorization", "Bearer ")], 401),
    ("padding only", "/", "GET", [bearer("===")], 401),
    ("two spaces", "/", "GET", [("Authorization", f"Bearer  {TOKEN}")], 401),
    ("a tab for the space", "/", "GET", [("Authorization", f"Bearer\t{TOKEN}")], 401),
    ("a letter outside the charset", "/", "GET", [bearer(f"{TOKEN}|x")], 401),
    ("a letter outside ASCII in the token", "/", "GET", [bearer(f"{TOKEN}\u00e9")], 401),
    ("padding in the middle", "/", "GET", [bearer(f"{TOKEN}=x")], 401),
    ("too long", "/", "GET", [bearer("x" * 4097)], 401),
    ("another app's token", "/", "GET", [bearer(OTHER_APP)], 401),
    ("a token that is not valid", "/", "GET", [bearer(DEAD)], 401),
    ("a page's token", "/", "GET", [bearer(PAGE)], 401),
    ("data access lapsed, without scopes", "/", "GET", [bearer(LAPSED)], 200),
    ("data access lapsed, with scopes", "/scoped", "GET", [bearer(LAPSED)], 401),
    ("a scope that is missing", "/missing", "GET", [GOOD], 403),
    ("the same with a trailing slash", "/missing/", "GET", [GOOD], 403),
    ("a verb that asks for less", "/verbs", "GET", [GOOD], 200),
    ("HEAD, which follows GET", "/verbs", "HEAD", [GOOD], 200),
    ("a verb that asks for more", "/verbs", "POST", [GOOD], 403),
    ("a verb of no rule", "/verbs", "PATCH", [GOOD], 403),
    ("a strange verb", "/verbs", "post", [GOOD], 403),
    ("an empty segment", "/a//b", "GET", [GOOD], 400),
    ("an empty segment before a public one", "//public", "GET", [], 400),
    ("a dot segment", "/a/../public", "GET", [GOOD], 400),
    ("a dot at the end", "/public/.", "GET", [GOOD], 400),
    ("a semicolon", "/public;x", "GET", [GOOD], 400),
    ("a backslash", "/public\\x", "GET", [GOOD], 400),
    ("a control character", "/public\x00", "GET", [GOOD], 400),
    ("a control character outside ASCII", "/public\x85", "GET", [GOOD], 400),
    ("no slash in front", "public", "GET", [GOOD], 400),
]  # fmt: skip


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def guard(clock):
    graph = FakeGraph()
    graph.replies.update(REPLIES)
    with make_guard(graph, clock, ttl=TTL) as guard:
        yield guard


def facts(guard, token):
    """Fetch what Graph says about a token into the guard's cache, whatever the verdict is."""
    with suppress(Refused):
        guard.check(token)
    return guard.peek(token)


@pytest.fixture
def judge(guard, clock):
    judge = Judge(APP_ID, POLICY, ttl=TTL, time=clock.time, monotonic=clock.monotonic)
    for token in REPLIES:
        judge.remember(token, facts(guard, token))
    return judge


@pytest.fixture(params=["ASGI", "WSGI"])
def doors(request, guard, judge):
    """Give (ask, floor, fbguard's door) of one protocol."""
    if request.param == "WSGI":
        yield WsgiSide().ask, WsgiFloor(wsgi_app, judge), WsgiDoor(wsgi_app, guard, policy=POLICY)
        return
    with asyncio.Runner() as runner:
        yield (
            AsgiSide(runner).ask,
            AsgiFloor(asgi_app, judge),
            AsgiDoor(asgi_app, guard, policy=POLICY),
        )
        runner.run(guard.aclose_here())


@pytest.mark.parametrize(("path", "method", "headers", "status"), [row[1:] for row in ROWS],
                         ids=[row[0] for row in ROWS])  # fmt: skip
def test_the_floor_decides_as_the_door_does(doors, path, method, headers, status):
    ask, floored, guarded = doors
    request = Request(tuple(headers), method, path)
    by_floor = ask(floored, request, facts_of_request.get)
    by_guard = ask(guarded, request, current_token)
    assert (by_floor.status, by_guard.status) == (status, status)
    assert by_floor.facts == by_guard.facts


def test_the_app_sees_the_facts_and_nobody_later(doors, guard):
    ask, floored, _ = doors
    seen = ask(floored, Request((GOOD,)), facts_of_request.get)
    assert seen.status == 200
    assert {id(facts) for facts in seen.facts} == {id(guard.peek(TOKEN))}
    assert facts_of_request.get() is None


@pytest.mark.parametrize("moved", ["wall", "mono"])
def test_a_fact_ends_by_the_stricter_clock(doors, clock, moved):
    ask, floored, _ = doors

    def status():
        return ask(floored, Request((GOOD,)), facts_of_request.get).status

    began = getattr(clock, moved)
    setattr(clock, moved, began + TTL - 1)
    assert status() == 200
    setattr(clock, moved, began + TTL)
    assert status() == 401


@pytest.mark.parametrize("moved", ["wall", "mono"])
def test_a_token_ends_by_the_stricter_clock(guard, clock, moved):
    judge = Judge(APP_ID, Policy(), ttl=7200.0, time=clock.time, monotonic=clock.monotonic)
    judge.remember(TOKEN, facts(guard, TOKEN))
    setattr(clock, moved, getattr(clock, moved) + 3599)
    assert judge.judge("GET", "/", GOOD[1].encode())
    setattr(clock, moved, getattr(clock, moved) + 1)
    with pytest.raises(floor.Refusal) as caught:
        judge.judge("GET", "/", GOOD[1].encode())
    assert caught.value.status == 401


def test_a_token_that_is_not_cached_does_not_pass(clock):
    judge = Judge(APP_ID, POLICY, time=clock.time, monotonic=clock.monotonic)
    with pytest.raises(floor.Refusal) as caught:
        judge.judge("GET", "/", GOOD[1].encode())
    assert caught.value.status == 401


@pytest.mark.parametrize("sign", [*"/.;\\e\x00\x1f\x7f\x80\x9f\xa0\xad\u00e9\ufffd\ud800"])
def test_a_plain_path_is_a_plain_path(sign):
    for pattern in ("X", "/X", "/aX", "/X/a", "/aXb", "/a/XX", "/a/X/"):
        path = pattern.replace("X", sign)
        assert floor._is_plain(path) == is_plain(path), ascii(path)
    assert floor._is_plain("") is is_plain("")


def test_the_path_is_the_one_below_the_mount(judge):
    door = AsgiFloor(asgi_app, judge)
    scope = {"type": "http", "method": "GET", "root_path": "/api", "headers": []}
    messages = []

    async def send(message):
        messages.append(message)

    async def call(path):
        await door({**scope, "path": path}, None, send)
        return messages[-2]["status"]

    assert asyncio.run(call("/api/public")) == 200
    assert asyncio.run(call("/apish/public")) == 401
    assert asyncio.run(call("/public")) == 200


@pytest.mark.parametrize("rule", [
    Rule("/pages/{page_id}"), Rule("/x", any_scope=["email"]), Rule("/x", optional=True),
    Rule("/x", max_login_age=1), Rule("/x", min_remaining=1), Rule("/x", token_types=["PAGE"]),
])  # fmt: skip
def test_what_the_floor_cannot_judge_it_does_not_take(rule):
    with pytest.raises(ValueError, match="the floor"):
        Judge(APP_ID, Policy(rule))
    with pytest.raises(ValueError, match="the floor"):
        Judge(APP_ID, Policy(default=Requirement(any_scope=["email"])))


def test_what_the_doors_do_not_serve_they_do_not_let_in(judge):
    with pytest.raises(RuntimeError, match="http only"):
        asyncio.run(AsgiFloor(asgi_app, judge)({"type": "websocket"}, None, None))

    def streaming(_environ, _start_response):
        yield b""

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/public"}
    with pytest.raises(TypeError, match="lists only"):
        WsgiFloor(streaming, judge)(environ, None)
