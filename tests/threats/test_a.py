"""Rows A: whose token it is, and of what kind."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import pytest

from fbguard import Policy, Requirement, Rule
from tests.support import APP_ID, OTHER_APP, SECRET, TOKEN, dead, negatives, positives, valid

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
