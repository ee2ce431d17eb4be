"""Rows B: hostile or odd replies of debug_token: scopes, sizes, strange members and statuses."""

# ruff: noqa: N802, RUF001 - the tests are named after the rows; letters that look like others are the point

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace

import pytest

from fbguard import Policy, Requirement, Rule
from fbguard.core.cache import key_of
from fbguard.core.secret import Secret
from tests.support import TOKEN, Reply, dead, envelope, facts, negatives, valid
from tests.threats.requests import undecided

PERFECT = json.dumps({"data": facts()})
SCOPED = Policy(Rule("/scoped", scopes=["email"]), Rule("/any", any_scope=["email", "ads_read"]))


@pytest.mark.parametrize(
    "scopes",
    [
        "email,public_profile",
        "email",
        {},
        {"email": True},
        5,
        True,
        [1],
        [["email"]],
        ["email", None],
        ["email", {"email": 1}],
        ["email", 5],
    ],
    ids=repr,
)
@pytest.mark.parametrize("path", ["/scoped", "/any", "/"])
def test_B07_scopes_of_a_wrong_type(door, guard, graph, scopes, path):
    graph.replies[TOKEN] = valid(scopes=scopes)
    undecided(door(guard, policy=SCOPED), guard, path="/")
    answer = door(guard, policy=SCOPED).send(TOKEN, path)
    assert (answer.status, answer.ran) == (503, False)


@pytest.mark.parametrize("scopes", [None, ..., []], ids=repr)
def test_B07_no_scopes_at_all(door, guard, graph, scopes):
    graph.replies[TOKEN] = valid(scopes=scopes)
    behind = door(guard, policy=SCOPED)
    assert behind.send(TOKEN, "/").info.scopes == frozenset()
    for path in ("/scoped", "/any"):
        answer = behind.send(TOKEN, path)
        assert (answer.status, answer.reason, answer.ran) == (403, "insufficient_scope", False)


LOOK_ALIKES = [
    "email_extended",
    "not_email",
    "e",
    "",
    "email,public_profile",
    "email public_profile",
    "EMAIL",
    "Email",
    "email ",
    " email",
    "email\n",
    "email\x00",
    "email\u200b",
    "\ufeffemail",
    "ｅmail",
    "еmail",  # with a Cyrillic letter
    "e\u0301mail",
    "*",
    "email*",
    ".*",
]


@pytest.mark.parametrize("scope", LOOK_ALIKES, ids=ascii)
def test_B08_look_alike_scopes(door, guard, graph, scope):
    graph.replies[TOKEN] = valid(scopes=[scope])
    behind = door(guard, policy=SCOPED)
    for path in ("/scoped", "/any"):
        answer = behind.send(TOKEN, path)
        assert (answer.status, answer.reason, answer.ran) == (403, "insufficient_scope", False)


@pytest.mark.parametrize(("granted", "asked"), [("publiſh", "publish"), ("ﬁles", "files"), ("K", "k")])
def test_B08_letters_that_fold_into_others(door, guard, graph, granted, asked):
    assert granted.upper() == asked.upper()
    graph.replies[TOKEN] = valid(scopes=[granted])
    answer = door(guard, policy=Policy(default=Requirement(scopes=[asked]))).send(TOKEN)
    assert (answer.status, answer.ran) == (403, False)


def test_B08_half_a_character(door, guard, graph):
    for changes in ({"scopes": ["email", "\ud800"]}, {"application": "\ud800"}, {"type": "\ud800"}):
        graph.replies[TOKEN] = valid(**changes)
        undecided(door(guard), guard)


def test_B09_duplicates_and_order(door, guard, graph):
    graph.replies[TOKEN] = valid(scopes=["b", "email", "a", "email", "b", "email"])
    answer = door(guard, policy=SCOPED).send(TOKEN, "/scoped")
    assert (answer.status, answer.info.scopes) == (200, {"a", "b", "email"})


def test_B09_scopes_up_to_the_cap(door, guard, graph):
    graph.replies[TOKEN] = valid(scopes=[*map(str, range(7000)), "email"])
    answer = door(guard, policy=SCOPED).send(TOKEN, "/scoped")
    assert (answer.status, len(answer.info.scopes)) == (200, 7001)


@pytest.mark.parametrize("scopes", [["email"] * 100_000, [*map(str, range(100_000)), "email"]], ids=len)
def test_B09_too_many_scopes(door, guard, graph, scopes):
    graph.replies[TOKEN] = valid(scopes=scopes)
    undecided(door(guard, policy=SCOPED), guard)


def test_B09_a_body_of_exactly_the_cap(door, guard, graph):
    for excess, status in ((0, 200), (1, 503)):
        body = PERFECT.encode().ljust(65_536 + excess)
        graph.replies[TOKEN] = Reply(body)
        assert door(guard).send(TOKEN).status == status
        guard._validator._cache.forget(key_of(Secret(TOKEN)))


KILLERS = {
    "arrays": "[" * 60_000,
    "arrays, more than the cap": "[" * 100_000,
    "objects": '{"data":' * 8000,
    "closed arrays": "[" * 30_000 + "]" * 30_000,
    "arrays inside": '{"data": ' + "[" * 30_000 + "]" * 30_000 + "}",
    "in a field that nobody reads": PERFECT[:-2] + ', "x": ' + "[" * 30_000 + "]" * 30_000 + "}}",
    "5000 digits": PERFECT.replace('"user_id": "1001"', f'"user_id": {"9" * 5000}'),
    "5000 digits that nobody reads": PERFECT[:-2] + f', "x": {"9" * 5000}}}}}',
    "5000 digits as a code": '{"error": {"code": ' + "9" * 5000 + "}}",
    "half a character": PERFECT.replace('"1001"', r'"\ud800"'),
    "half a character as app": PERFECT.replace('"1234567890"', r'"\ud800"'),
    "no text": PERFECT.encode().replace(b"1001", b"\xff\xfe").decode("latin-1"),
    "escapes": '"' + "\\" * 60_000,
}


@pytest.mark.parametrize("killer", KILLERS)
def test_B10_parser_killers(door, guard, graph, killer):
    pid, depth = os.getpid(), sys.getrecursionlimit()
    graph.replies[TOKEN] = Reply(KILLERS[killer].encode("latin-1"))
    undecided(door(guard), guard)
    assert (os.getpid(), sys.getrecursionlimit()) == (pid, depth)


@pytest.mark.parametrize("digits", [4000, 5000])
def test_B10_long_numbers_beside_an_error(door, guard, graph, digits):
    """A code of Graph's goes into the body: it must come out as a number, or not at all."""
    number = "9" * digits
    body = f'{{"data": {{"is_valid": false, "error": {{"code": {number}, "subcode": {number}}}}}}}'
    graph.replies[TOKEN] = Reply(body.encode())
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.ran) == ((401 if digits < 4300 else 503), False)
    assert answer.json["status"] == answer.status


STRANGE = {
    "__proto__": {"admin": True},
    "__class__": "X",
    "__dict__": {"is_valid": True},
    "roles": ["admin"],
    "is_admin": True,
    "stale": True,
    "fingerprint": "forged",
    "error_": {"code": 1},
    "metadata": {"sso": "x"},
    "fbguard.token": {"user_id": "1"},
}


def test_B11_unknown_fields(door, guard, graph):
    graph.replies[TOKEN] = valid(**STRANGE)
    answer = door(guard).send(TOKEN)
    shown = repr(answer.info)
    assert answer.status == 200
    assert (answer.info.stale, answer.info.fingerprint != "forged") == (False, True)
    assert not any(hasattr(answer.info, name) for name in ("roles", "is_admin", "metadata", "__proto__"))
    assert not any(word in shown for word in ("admin", "forged", "proto", "sso"))
    graph.default = valid()
    assert replace(door(guard).send("plain").info, fingerprint="") == replace(answer.info, fingerprint="")


@pytest.mark.parametrize("code", [99999, -1, 0, 2**40, "190", 190.0, True, None, [190]], ids=repr)
def test_B11_unknown_codes(door, guard, graph, code):
    graph.replies[TOKEN] = envelope(code)
    undecided(door(guard), guard)
    graph.replies[TOKEN] = dead(code, None, "What?")
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.reason, answer.ran) == (401, "invalid_token", False)
    assert negatives(guard) == 1


@pytest.mark.parametrize(
    "status", [201, 202, 206, 299, 300, 302, 400, 401, 403, 404, 429, 500, 502, 503, 599]
)
def test_B12_status_and_body_disagree(door, guard, graph, status):
    graph.replies[TOKEN] = Reply(PERFECT.encode(), status)
    undecided(door(guard), guard)


@pytest.mark.parametrize("status", [206, 400, 500])
def test_B12_a_no_with_another_status_is_none(door, guard, graph, status):
    graph.replies[TOKEN] = replace(dead(190, 463), status=status)
    undecided(door(guard), guard)
