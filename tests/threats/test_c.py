"""Rows C: sequences over one cache."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
import gc
import unicodedata
from collections import Counter
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import httpx
import pytest

from fbguard import Guard, Policy, Refused, Rule, TokenInfo, asgi, current_token, wsgi
from fbguard.core.secret import Secret
from tests.support import (
    NOW,
    OTHER_APP,
    TOKEN,
    Answer,
    FakeGraph,
    Reply,
    call_asgi,
    call_wsgi,
    dead,
    envelope,
    http_scope,
    make_guard,
    negatives,
    positives,
    valid,
    wsgi_environ,
)
from tests.threats.requests import WIDE, bearer, cookie

ROUTES = Policy(Rule("/a", scopes=["email"]), Rule("/b", scopes=["pages_show_list"]))


def test_C01_scope_bypass_through_the_cache(door, guard, graph):
    behind = door(guard, policy=ROUTES)
    assert behind.send(TOKEN, "/a").status == 200
    answer = behind.send(TOKEN, "/b")
    assert (answer.status, answer.reason, answer.ran) == (403, "insufficient_scope", False)
    assert 'scope="pages_show_list"' in answer.challenge
    assert behind.send(TOKEN, "/a").status == 200
    assert graph.calls == [TOKEN]


def test_C02_a_refusal_does_not_stick(door, guard, graph):
    behind = door(guard, policy=ROUTES)
    assert behind.send(TOKEN, "/b").status == 403
    answer = behind.send(TOKEN, "/a")
    assert (answer.status, answer.ran) == (200, True)
    assert graph.calls == [TOKEN]


def test_C06_positive_outlives_the_token(door, guard, graph, clock):
    graph.replies[TOKEN] = valid(expires_at=NOW + 2)
    behind = door(guard)
    clock.advance(1.9)
    assert behind.send(TOKEN).status == 200
    clock.advance(0.1)
    answer = behind.send(TOKEN)
    assert (answer.status, answer.reason, answer.ran) == (401, "expired", False)


@pytest.mark.parametrize("moved", ["wall", "mono"])
def test_C06_by_either_clock(door, guard, graph, clock, moved):
    graph.replies[TOKEN] = valid(expires_at=NOW + 2)
    behind = door(guard)
    assert behind.send(TOKEN).status == 200
    setattr(clock, moved, getattr(clock, moved) + 2)
    assert behind.send(TOKEN).reason == "expired"


@pytest.mark.parametrize("expires_at", [NOW, NOW - 1, 1])
def test_C06_a_token_that_is_past_at_once(door, guard, graph, expires_at):
    graph.replies[TOKEN] = valid(expires_at=expires_at)
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.reason, answer.ran) == (401, "expired", False)


TRUNCATED = {
    "first 20": ("EAAB0123456789abcdefXXXX", "EAAB0123456789abcdefYYYY"),
    "last 16": ("XXXX0123456789abcdef", "YYYY0123456789abcdef"),
    "all but the first": ("X" + "a" * 200, "Y" + "a" * 200),
    "all but the last": ("a" * 200 + "X", "a" * 200 + "Y"),
    "all but one in the middle": ("a" * 100 + "X" + "a" * 100, "a" * 100 + "Y" + "a" * 100),
    "one is the beginning": ("a" * 200, "a" * 201),
    "the longest": ("a" * 4095 + "X", "a" * 4095 + "Y"),
}
NORMALISED = {
    "case": ("EAABabcdef", "EAABABCDEF"),
    "padding": ("EAABabcd", "EAABabcd="),
    "more padding": ("EAABabcd=", "EAABabcd=="),
    "both base64 alphabets": ("EAAB+/ab", "EAAB-_ab"),
    "a dot": ("EAAB.abcd", "EAABabcd"),
    "dots": ("EAAB..abcd", "EAAB.abcd"),
    "numbers": ("1", "01"),
    "float": ("1", "1.0"),
    "parts": ("a.b-c", "a-b.c"),
}


def check_apart(behind, guard, graph, good, bad):
    """One is valid and the other is not, whichever is asked first and whatever is remembered."""
    graph.replies[good], graph.replies[bad] = valid(user_id="1"), valid(is_valid=False, user_id="2")
    for _ in range(2):
        assert behind.send(good).info.user_id == "1"
        answer = behind.send(bad)
        assert (answer.status, answer.reason, answer.ran) == (401, "invalid_token", False)
    assert sorted(graph.calls) == sorted([good, bad])
    assert (positives(guard), negatives(guard)) == (1, 1)


@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("pair", TRUNCATED)
def test_C03_truncated_key(door, guard, graph, pair, is_turned):
    check_apart(door(guard), guard, graph, *sorted(TRUNCATED[pair], reverse=is_turned))


@pytest.mark.parametrize(
    ("first", "second"),
    [(("12", "3abc"), ("123", "abc")), (("1.2", "a"), ("1", "2.a")), (("1-", "a"), ("1", "-a"))],
)
def test_C04_joined_key(make_door, graph, clock, first, second):
    """App and token written one behind the other are the same text for two pairs: still two facts."""
    guards = [make_guard(graph, clock, app_id=app_id) for app_id, _ in (first, second)]
    assert "".join(first).replace(".", "") == "".join(second).replace(".", "")
    with guards[0], guards[1]:
        for guard, (app_id, token) in zip(guards, (first, second), strict=True):
            graph.replies[token] = valid(app_id=app_id, user_id=f"{len(token)}")
            answer = make_door("wsgi", guard).send(token)
            assert (answer.info.app_id, answer.info.user_id) == (app_id, f"{len(token)}")
    assert graph.calls == [first[1], second[1]]


@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("pair", NORMALISED)
def test_C05_normalised_key(door, guard, graph, pair, is_turned):
    check_apart(door(guard), guard, graph, *sorted(NORMALISED[pair], reverse=is_turned))


@pytest.mark.parametrize(
    "token", ["tok\u00e9n", "toke\u0301n", "\uff54oken", "t%6fken", "tok en", "token\u200b"]
)
def test_C05_what_could_be_normalised_is_refused_before_it_is_a_key(guard, graph, token):
    guard.check("token")
    for text in (token, unicodedata.normalize("NFC", token), unicodedata.normalize("NFKC", token)):
        if text != "token":
            with pytest.raises(Refused, match="malformed_token"):
                guard.check(text)
    assert graph.calls == ["token"]


@pytest.mark.parametrize("expires_at", [NOW, NOW - 1, 1])
def test_C07_a_life_of_zero_or_less_is_not_kept_as_good(door, guard, graph, clock, expires_at):
    graph.replies[TOKEN] = valid(expires_at=expires_at)
    behind = door(guard)
    assert behind.send(TOKEN).reason == "expired"
    assert (positives(guard), negatives(guard)) == (0, 1)
    clock.advance(30)  # a no is remembered for a while, not for ever
    graph.replies[TOKEN] = valid(expires_at=NOW + 3600)
    assert (behind.send(TOKEN).status, len(graph.calls)) == (200, 2)


DONT_KNOW = {
    "throttled": envelope(4),
    "user throttled": dead(17, message="User request limit reached"),
    "temporary": envelope(2, status=500),
    "our credential": envelope(190, message="Invalid OAuth access token."),
    "unknown": envelope(99_999),
    "500": Reply(b"", 500),
    "503": Reply(b"<html>", 503),
    "garbage": Reply(b"{"),
    "half": Reply(b'{"data": {"is_valid": false'),
    "is_valid as text": valid(is_valid="false"),
    "connect": httpx.ConnectError("no"),
    "read": httpx.ReadTimeout("late"),
    "protocol": httpx.RemoteProtocolError("what"),
    "bug": RuntimeError("bug"),
}


@pytest.mark.parametrize("trouble", DONT_KNOW)
@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
def test_C13_negative_poisoning(door, guard, graph, clock, trouble, is_warm):
    behind = door(guard)
    if is_warm:
        assert behind.send(TOKEN).status == 200
        clock.advance(300)
    graph.replies[TOKEN] = DONT_KNOW[trouble]
    for _ in range(3):
        answer = behind.send(TOKEN)
        assert (answer.status, answer.ran, answer.challenge) == (503, False, "")
        assert answer.json["relogin"]["action"] == "wait"
        clock.advance(int(answer.header("retry-after")))
    assert len(graph.calls) == 3 * (2 if trouble == "connect" else 1) + is_warm
    assert negatives(guard) == 0
    graph.replies[TOKEN] = valid()
    assert behind.send(TOKEN).status == 200


def test_C13_trouble_does_not_touch_what_is_known(door, guard, graph):
    behind = door(guard)
    assert behind.send(TOKEN).status == 200
    graph.default = graph.replies[TOKEN] = envelope(4)
    assert behind.send("other").status == 503
    assert behind.send(TOKEN).status == 200
    assert graph.calls == [TOKEN, "other"]


@pytest.mark.parametrize("reply", [valid(is_valid=False), dead(190, 463), OTHER_APP, valid(app_id="9")])
def test_C14_negative_flood(door, graph, clock, reply):
    with make_guard(graph, clock, cache_size=2, negative_cache_size=5) as guard:
        behind = door(guard)
        assert behind.send(TOKEN).status == behind.send("second").status == 200
        graph.default = reply
        for number in range(50):
            assert behind.send(f"invented{number}").status == 401
            assert (positives(guard), negatives(guard) <= 5) == (2, True)
        assert behind.send(TOKEN).status == behind.send("second").status == 200
    assert len(graph.calls) == 52


@pytest.mark.parametrize("reply", [envelope(4), envelope(190), Reply(b"", 500)])
def test_C14_a_flood_of_dont_knows_takes_no_room(door, guard, graph, clock, reply):
    graph.default = reply
    behind = door(guard)
    for number in range(20):
        answer = behind.send(f"invented{number}")
        assert answer.status == 503
        clock.advance(int(answer.header("retry-after")))
    assert len(graph.calls) == 20
    assert positives(guard) == negatives(guard) == 0


def spoil(info: TokenInfo) -> None:
    """Do what a careless view would do to make itself an admin."""
    attempts: list[Callable[[], object]] = [
        lambda: info.scopes.append("admin"),
        lambda: info.scopes.add("admin"),
        lambda: info.scopes.update({"admin"}),
        lambda: info.granular_scopes.update({"admin": None}),
        lambda: info.granular_scopes.__setitem__("admin", None),
        lambda: setattr(info, "scopes", {"admin"}),
        lambda: setattr(info, "user_id", "6666"),
        lambda: setattr(info, "admin", True),
        lambda: delattr(info, "expires"),
        lambda: vars(info).update(user_id="6666"),
    ]
    for attempt in attempts:
        with pytest.raises((AttributeError, TypeError)):
            attempt()


def test_C15_aliasing(door, guard, graph):
    graph.replies[TOKEN] = valid(granular_scopes=[{"scope": "email", "target_ids": ["1"]}])
    behind = door(guard, policy=Policy(Rule("/admin", scopes=["admin"])), act=lambda: spoil(current_token()))
    first = behind.send(TOKEN).info
    second = behind.send(TOKEN).info
    assert first == second
    assert (second.user_id, second.scopes) == ("1001", {"email", "public_profile"})
    assert dict(second.granular_scopes) == {"email": ("1",)}
    assert behind.send(TOKEN, "/admin").status == 403


class Failing(FakeGraph):
    """Every call fails with an exception of its own, as a network does."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(request.url.params["input_token"])
        raise httpx.ReadError(f"reset for {request.url}", request=request)


def leftovers() -> Counter[str]:
    gc.collect()
    kinds = (BaseException, TracebackType, FrameType, httpx.Request, httpx.Response, Secret)
    return Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, kinds))


@pytest.mark.parametrize("outcome", ["network", "garbage", "no"])
def test_C16_nothing_of_a_failure_is_kept(door, clock, outcome):
    graph = Failing() if outcome == "network" else FakeGraph()
    graph.default = Reply(b"{") if outcome == "garbage" else valid(is_valid=False)
    with make_guard(graph, clock, negative_cache_size=3) as guard:
        behind = door(guard)
        for number in range(10):
            behind.send(f"warm{number}")
            clock.advance(1)  # a Graph that fails is asked once a second
        graph.requests.clear()
        before = leftovers()
        for number in range(100):
            assert behind.send(f"token{number}").status in {401, 503}
            clock.advance(1)
        graph.requests.clear()
        grown = leftovers() - before
    assert len(graph.calls) == 110
    assert {name: more for name, more in grown.items() if more > 10} == {}


REFUSALS = {
    400: ("/a//b", None, None),
    401: ("/a", None, None),
    403: ("/scoped", TOKEN, None),
    503: ("/a", TOKEN, envelope(4)),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_C17_no_cache_keeps_a_refusal(door, guard, graph, status):
    path, token, reply = REFUSALS[status]
    graph.replies[TOKEN] = reply or valid()
    answer = door(guard, policy=Policy(Rule("/scoped", scopes=["ads_read"]))).send(token, path)
    assert answer.status == status
    assert answer.header("cache-control") == "no-store"
    assert {"Authorization", "Accept", "Accept-Language"} <= set((answer.header("vary") or "").split(", "))


def test_C17_a_success_with_the_header_is_untouched(door, guard):
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.header("cache-control"), answer.header("vary")) == (200, None, None)


@pytest.mark.parametrize("theirs", [[], [("Cache-Control", "public, max-age=60"), ("Vary", "Accept")]])
@pytest.mark.parametrize(
    ("query", "headers", "cache_control"),
    [
        (f"access_token={TOKEN}", [], "private"),
        ("", [cookie(TOKEN)], "private"),
        ("", [bearer(TOKEN)], None),
    ],
    ids=["query", "cookie", "header"],
)
def test_C17_a_success_with_the_token_elsewhere_is_private(
    graph, clock, theirs, query, headers, cache_control
):
    """Shared caches keep away from the Authorization header only (RFC 9111 section 3.5)."""
    with make_guard(graph, clock, token_from=WIDE) as guard:
        answers = both_doors(guard, theirs, query, headers)
    for answer in answers:
        kept = [value.split(", ")[-1] for _, value in theirs[:1]] or [None]
        said = answer.header("cache-control")
        if cache_control is None:
            assert (answer.status, said) == (200, dict(theirs).get("Cache-Control"))
        else:
            assert (answer.status, said) == (200, ", ".join(filter(None, [*kept, "private"])))
            assert {"Authorization", "Cookie"} <= set(answer.header("vary").split(", "))
        assert not theirs or "Accept" in answer.header("vary")


def both_doors(guard: Guard, theirs: list[Any], query: str, headers: list[Any]) -> list[Answer]:
    """Send one request through both doors, to an app whose answer has these headers."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        pairs = [(name.lower().encode(), value.encode()) for name, value in theirs]
        await send({"type": "http.response.start", "status": 200, "headers": pairs})
        await send({"type": "http.response.body", "body": b""})

    def old_app(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", list(theirs))
        return [b""]

    scope = http_scope(headers=headers, query_string=query.encode())
    environ = wsgi_environ(headers=headers, QUERY_STRING=query)
    return [
        asyncio.run(call_asgi(asgi.FBTokenMiddleware(app, guard), scope)),
        call_wsgi(wsgi.FBTokenMiddleware(old_app, guard), environ),
    ]
