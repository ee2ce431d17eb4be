"""Rows A: whose token it is, and of what kind."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

from typing import Any

import pytest

from fbguard import Policy, Requirement, Rule, wsgi
from tests.conftest import KINDS
from tests.support import (
    APP_ID,
    OTHER_APP,
    SECRET,
    TOKEN,
    call_wsgi,
    dead,
    envelope,
    make_guard,
    negatives,
    positives,
    valid,
    wsgi_environ,
)
from tests.threats.requests import ask, bearer

OIDC = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJmYWNlYm9vayJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "reply",
    [
        valid(app_id="999"),
        valid(app_id="999", is_valid=False),
        dead(190, 463, "Session has expired", app_id="999"),
        OTHER_APP,
    ],
    ids=["valid there", "dead there", "expired there", "error 100"],
)
def test_A01_token_of_another_app(door, guard, graph, reply):
    graph.replies[TOKEN] = reply
    behind = door(guard)
    for _ in range(2):
        answer = behind.send(TOKEN)
        assert (answer.status, answer.reason, answer.ran) == (401, "wrong_app", False)
        assert 'error="invalid_token"' in answer.challenge
    assert positives(guard) == 0
    assert graph.calls == [TOKEN]  # remembered as a no


@pytest.mark.parametrize(
    ("app_id", "status"),
    [
        ("123456789", 401),
        ("12345678901", 401),
        (" 1234567890", 401),
        ("1234567890 ", 401),
        ("1234567890\n", 401),
        ("\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19\uff10", 401),
        ("1_234567890", 401),
        ("+1234567890", 401),
        ("0x499602d2", 401),
        (1234567891, 401),
        (1234567890.0, 503),
        (True, 503),
        (["1234567890"], 503),
        ({"1234567890": 1}, 503),
    ],
    ids=repr,
)
def test_A02_app_id_loose_compare(door, guard, graph, app_id, status):
    graph.replies[TOKEN] = valid(app_id=app_id)
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.ran, positives(guard)) == (status, False, 0)


@pytest.mark.parametrize("app_id", [APP_ID, int(APP_ID)], ids=repr)
def test_A02_the_exact_app_id_passes(door, guard, graph, app_id):
    graph.replies[TOKEN] = valid(app_id=app_id)
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.info.app_id) == (200, APP_ID)


@pytest.mark.parametrize("app_id", [..., None, ""], ids=["absent", "null", "empty"])
def test_A03_app_id_absent(door, guard, graph, app_id):
    graph.replies[TOKEN] = valid(app_id=app_id)
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.reason, answer.ran) == (503, "unavailable", False)
    assert positives(guard) == negatives(guard) == 0


def test_A04_app_credential_as_user_token(door, guard, graph):
    for credential in (f"{APP_ID}|{SECRET}", "123|abc", f"{APP_ID}|"):
        answer = door(guard).send(credential)
        assert (answer.status, answer.reason, answer.ran) == (401, "malformed_token", False)
    assert graph.calls == []


def test_A04_app_token_as_user_token(door, guard, graph):
    graph.replies[TOKEN] = valid(type="APP", user_id=..., expires_at=..., scopes=[])
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.reason, answer.ran) == (401, "wrong_token_type", False)


@pytest.mark.parametrize("kind", ["PAGE", "SYSTEM_USER", "user", "User", "", "ADMIN", "USER ", None, ...])
def test_A05_wrong_type(door, guard, graph, kind):
    graph.replies[TOKEN] = valid(type=kind)
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.reason, answer.ran) == (401, "wrong_token_type", False)


def test_A05_a_type_that_the_route_allows(door, guard, graph):
    graph.replies[TOKEN] = valid(type="PAGE", profile_id="77")
    behind = door(guard, policy=Policy(Rule("/page", token_types=("PAGE",))))
    assert behind.send(TOKEN, "/page").info.profile_id == "77"
    assert behind.send(TOKEN, "/elsewhere").reason == "wrong_token_type"
    assert len(graph.calls) == 1


@pytest.mark.parametrize(
    "user_id",
    [..., None, "", "0", 0, True, "me", "-1", "1.0", " 1", "1\n", "9" * 400, "١٢٣", ["1"]],
    ids=repr,
)
def test_A06_no_usable_user_id(door, guard, graph, user_id):
    graph.replies[TOKEN] = valid(user_id=user_id)
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.ran) == (503, False)
    assert positives(guard) == negatives(guard) == 0


@pytest.mark.parametrize(("user_id", "seen"), [("1", "1"), ("9" * 32, "9" * 32), (1001, "1001")])
def test_A06_usable_user_ids(door, guard, graph, user_id, seen):
    graph.replies[TOKEN] = valid(user_id=user_id)
    assert door(guard).send(TOKEN).info.user_id == seen


def test_A07_oidc_token_as_graph_token(door, guard, graph):
    behind = door(guard, policy=Policy(Rule("/open", optional=True)))
    for path in ("/", "/open"):
        answer = behind.send(OIDC, path)
        assert (answer.status, answer.reason, answer.ran) == (401, "limited_login", False)
    assert graph.calls == []


PAGES = ["pages_show_list"]
BOTH = ["pages_show_list", "pages_read_engagement"]


def granted(*targets: tuple[str, list[object] | None]) -> list[dict[str, object]]:
    return [{"scope": scope} | ({} if ids is None else {"target_ids": ids}) for scope, ids in targets]


@pytest.mark.parametrize(
    ("granular", "page", "status"),
    [
        (granted(("pages_show_list", ["111"])), "111", 200),
        (granted(("pages_show_list", [111])), "111", 200),
        (granted(("pages_show_list", ["111"])), "222", 403),
        (granted(("pages_show_list", ["111"])), "11", 403),
        (granted(("pages_show_list", [])), "111", 403),
        (granted(("pages_show_list", None)), "222", 200),
        (granted(("pages_read_engagement", ["111"])), "111", 403),
        ([], "222", 200),
        (..., "222", 200),
    ],
)
def test_A08_granular_scopes_narrow(door, guard, graph, granular, page, status):
    graph.replies[TOKEN] = valid(scopes=BOTH, granular_scopes=granular)
    behind = door(guard, policy=Policy(Rule("/pages/{page}", scopes=PAGES, target="page")))
    answer = behind.send(TOKEN, f"/pages/{page}")
    assert (answer.status, answer.ran) == (status, status == 200)
    if status == 403:
        assert answer.reason == "insufficient_target"
        assert 'scope="pages_show_list"' in answer.challenge
        assert answer.json["relogin"]["scopes"] == PAGES


def test_A08_every_required_scope_must_reach_the_target(door, guard, graph):
    graph.replies[TOKEN] = valid(
        scopes=BOTH, granular_scopes=granted(("pages_show_list", ["111"]), ("pages_read_engagement", ["222"]))
    )
    policy = Policy(
        Rule("/all/{page}", scopes=BOTH, target="page"),
        Rule("/any/{page}", any_scope=BOTH, target="page"),
        default=Requirement(),
    )
    behind = door(guard, policy=policy)
    assert behind.send(TOKEN, "/all/111").reason == "insufficient_target"
    assert behind.send(TOKEN, "/any/111").status == behind.send(TOKEN, "/any/222").status == 200
    assert behind.send(TOKEN, "/any/333").reason == "insufficient_target"


@pytest.mark.parametrize(
    "granular",
    [
        "pages_show_list",
        {"scope": "pages_show_list"},
        [{"target_ids": ["1"]}],
        [{"scope": "x", "target_ids": None}],
        [{"scope": "x", "target_ids": "111"}],
        [{"scope": "x", "target_ids": [True]}],
        [{"scope": "x"}, {"scope": "x", "target_ids": []}],
    ],
    ids=repr,
)
def test_A08_granular_scopes_that_nobody_can_read(door, guard, graph, granular):
    graph.replies[TOKEN] = valid(granular_scopes=granular)
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.ran) == (503, False)


def unreachable(_environ: Any, _start_response: Any) -> Any:
    raise AssertionError("nobody may get here")


def test_A09_two_apps_in_one_process(make_door, graph, clock):
    graph.default = valid(app_id="1111")
    with (
        make_guard(graph, clock, app_id="1111") as first,
        make_guard(graph, clock, app_id="2222") as second,
    ):
        for kind in KINDS:
            one, two = make_door(kind, first), make_door(kind, second)
            for _ in range(2):
                assert one.send(TOKEN).info.app_id == "1111"
                answer = two.send(TOKEN)
                assert (answer.status, answer.reason, answer.ran) == (401, "wrong_app", False)
        assert (positives(first), positives(second)) == (1, 0)
    assert graph.calls == [TOKEN, TOKEN]


@pytest.mark.parametrize("is_inside", [False, True], ids=["outside first", "inside first"])
def test_A09_one_apps_door_inside_anothers(graph, clock, is_inside):
    """The door of the first app has let the token in; the one of the second judges it all the same."""
    graph.default = valid(app_id="1111")
    with (
        make_guard(graph, clock, app_id="1111") as first,
        make_guard(graph, clock, app_id="2222") as second,
    ):
        order = (second, first) if is_inside else (first, second)
        app = wsgi.FBTokenMiddleware(wsgi.FBTokenMiddleware(unreachable, order[1]), order[0])
        assert call_wsgi(app, wsgi_environ(headers=[bearer(TOKEN)])).reason == "wrong_app"


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        (valid(is_valid=False), 401, "invalid_token"),
        (valid(is_valid=False, error={}), 401, "invalid_token"),
        (dead(190, None, ""), 401, "invalid_token"),
        (OTHER_APP, 401, "wrong_app"),
        (envelope(100, message="(#100) The parameter input_token is required"), 503, "unavailable"),
        (envelope(100, message="The App_id in the input_token"), 503, "unavailable"),
        (dead(100, None, "(#100) is_valid app_id user_id scopes"), 401, "invalid_token"),
    ],
    ids=["false", "empty error", "no subcode", "other app", "our mistake", "half a message", "inside"],
)
def test_A10_presence_taken_for_truth(door, guard, graph, reply, status, reason):
    graph.replies[TOKEN] = reply
    behind = door(guard, policy=Policy(Rule("/open", optional=True)))
    for path in ("/", "/open"):
        answer = behind.send(TOKEN, path)
        assert (answer.status, answer.reason, answer.ran) == (status, reason, False)
    assert positives(guard) == 0


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-User-Id", "6666"), ("User-Id", "6666"), ("X-FB-User-Id", "6666")],
        [("Cookie", "user_id=6666; fb_user=6666; fbguard.token=6666")],
        [("Content-Type", "application/x-www-form-urlencoded"), ("From", "6666")],
    ],
    ids=["query", "headers", "cookie", "form"],
)
def test_A11_identity_comes_from_the_token(door, guard, headers):
    behind = door(guard)
    query = "user_id=6666&user=6666&fb_token=6666&app_id=6666&scopes=admin"
    answer = ask(behind, "/users/6666", method="POST", query=query, headers=[bearer(TOKEN), *headers])
    assert (answer.status, answer.info.user_id, answer.info.app_id) == (200, "1001", APP_ID)
    assert answer.info.scopes == {"email", "public_profile"}
    assert "6666" not in repr(answer.info)
