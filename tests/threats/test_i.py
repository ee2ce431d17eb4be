"""Rows I: the identity that views see."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import itertools

import pytest

from fbguard import Policy, Requirement, Rule
from tests.support import OTHER_APP, TOKEN, Reply, dead, envelope, make_guard, valid
from tests.threats.requests import WIDE, ask, bearer, opened_by, shake_hands

OPEN = Policy(Rule("/open", optional=True), Rule("/health", public=True))
SPOOFED = [
    "X-FB-User-Id",
    "X_FB_User_Id",
    "x-fb-user-id",
    "X-Fb_User-ID",
    "X-User-Id",
    "Remote-User",
    "REMOTE_USER",
    "X-Remote-User",
    "X-Forwarded-User",
    "X-Auth-Request-User",
    "fbguard.token",
    "fbguard-token",
    "fbguard_token",
    "fb_token",
    "state",
]
ANYTHING = '{"user_id": "6666", "is_valid": true, "app_id": "1234567890", "scopes": ["admin"]}'


@pytest.mark.parametrize("name", SPOOFED)
@pytest.mark.parametrize("value", ["6666", ANYTHING], ids=["id", "facts"])
def test_I01_spoofed_header(door, guard, graph, name, value):
    behind = door(guard, policy=OPEN)
    headers = [(name, value), (name.upper(), value)]
    assert behind.send(headers=headers).status == 401
    for path in ("/open", "/health"):
        answer = behind.send(path=path, headers=headers)
        assert (answer.status, answer.info) == (200, None)
    assert graph.calls == []
    answer = behind.send(TOKEN, headers=headers)
    assert (answer.status, answer.info.user_id, answer.info.scopes) == (
        200,
        "1001",
        {"email", "public_profile"},
    )


BAD = {
    "dead": (bearer("dead"), 401),
    "another app's": (bearer("other-app"), 401),
    "wrong type": (bearer("page"), 401),
    "malformed": (bearer("a|b"), 401),
    "empty": (("Authorization", "Bearer"), 401),
    "oidc": (bearer("eyJhbGciOi.eyJpc3Mi.c2ln"), 401),
    "two": (("Authorization", "Bearer a, Bearer b"), 400),
    "nobody knows": (bearer("down"), 503),
    "garbage": (bearer("garbage"), 503),
}


@pytest.mark.parametrize("bad", BAD)
def test_I02_optional_auth(door, guard, graph, bad):
    """Anonymous is who sends no credential, never who sends a bad one."""
    graph.replies |= {
        "dead": dead(190, 463),
        "other-app": OTHER_APP,
        "page": valid(type="PAGE"),
        "down": envelope(4),
        "garbage": Reply(b"{"),
    }
    header, status = BAD[bad]
    behind = door(guard, policy=Policy(default=Requirement(optional=True)))
    for _ in range(2):
        answer = behind.send(headers=[header])
        assert (answer.status, answer.ran) == (status, False)
    assert opened_by(shake_hands(guard, policy=OPEN, path="/open", headers=[header])) is None


def test_I02_who_may_be_anonymous(door, guard):
    behind = door(guard, policy=OPEN)
    anonymous = behind.send(path="/open")
    assert (anonymous.status, anonymous.ran, anonymous.info) == (200, True, None)
    assert behind.send(TOKEN, "/open").info.user_id == "1001"
    assert behind.send(path="/open", headers=[("Authorization", "Basic dTpw")]).info is None
    assert opened_by(shake_hands(guard, policy=OPEN, path="/open")) == "nobody"


def test_I02_one_optional_of_two_requirements_is_not_enough(door, guard):
    policy = Policy(Rule("/x", methods=["GET"], optional=True), default=Requirement())
    behind = door(guard, policy=policy)
    assert behind.send(path="/x").info is None
    answer = behind.send(path="/x", method="DELETE")  # the default and the rule
    assert (answer.status, answer.reason, answer.ran) == (401, "missing_token", False)


@pytest.mark.parametrize("token", ["x", "anything", "true", "1001", "null", "a" * 4096, "EAAB" + "0" * 180])
@pytest.mark.parametrize("path", ["/", "/open"])
def test_I03_presence_only(door, guard, graph, token, path):
    graph.default = dead(190, None, "Malformed access token")
    answer = door(guard, policy=OPEN).send(token, path)
    assert (answer.status, answer.reason, answer.ran) == (401, "malformed_token", False)
    assert graph.calls == [token]


@pytest.mark.parametrize("header", [bearer(TOKEN), bearer("a|b"), ("Authorization", "Bearer a, Bearer b")])
@pytest.mark.parametrize("is_known", [False, True], ids=["cold", "warm"])
def test_I05_exempt_route_with_token(door, guard, graph, header, is_known):
    behind = door(guard, policy=OPEN)
    if is_known:
        assert behind.send(TOKEN).info is not None
    calls = list(graph.calls)
    answer = behind.send(path="/health", headers=[header])
    assert (answer.status, answer.ran, answer.info) == (200, True, None)
    assert graph.calls == calls


def test_I05_an_exempt_route_between_two_guarded_ones(door, guard):
    """What one request left behind is not there for the next one."""
    behind = door(guard, policy=OPEN)
    paths = itertools.islice(itertools.cycle(["/", "/health", "/open"]), 9)
    seen = [behind.send(TOKEN, path).info for path in paths]
    assert [info is None for info in seen] == [False, True, False] * 3


def test_I05_a_token_elsewhere_and_a_websocket(graph, clock):
    with make_guard(graph, clock, token_from=WIDE) as guard:
        for handshake in ({"headers": [bearer(TOKEN)]}, {"subprotocols": ("bearer", TOKEN)}):
            assert opened_by(shake_hands(guard, policy=OPEN, path="/health", **handshake)) == "nobody"
    assert graph.calls == []


def test_I05_a_query_on_an_exempt_route(door, graph, clock):
    with make_guard(graph, clock, token_from=WIDE) as guard:
        answer = ask(door(guard, policy=OPEN), "/health", query=f"access_token={TOKEN}")
    assert (answer.status, answer.info, graph.calls) == (200, None, [])
