"""Rows B: hostile or odd replies of debug_token: validity, shape, errors, times."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import json

import pytest

from tests.support import NOW, OTHER_APP, TOKEN, Reply, dead, envelope, facts, negatives, positives, valid
from tests.threats.requests import undecided


@pytest.mark.parametrize(
    "is_valid", ["true", "false", "", 1, 0, 1.0, "1", [], [True], {}, None, ...], ids=repr
)
def test_B01_is_valid_not_a_boolean(door, guard, graph, is_valid):
    graph.replies[TOKEN] = valid(is_valid=is_valid)
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.reason, answer.ran) == (503, "unavailable", False)
    assert positives(guard) == negatives(guard) == 0


def test_B01_only_the_literals_decide(door, guard, graph):
    graph.replies["yes"], graph.replies["no"] = valid(is_valid=True), valid(is_valid=False)
    behind = door(guard)
    assert behind.send("yes").status == 200
    assert behind.send("no").reason == "invalid_token"


GOOD = json.dumps(facts())
BAD = json.dumps(facts(is_valid=False))
APP, OTHER = '"app_id": "1234567890"', '"app_id": "999"'
ESCAPED = APP.replace("_", r"\u005f")


def _with(verdict: str) -> str:
    return GOOD.replace('"is_valid": true', verdict)


@pytest.mark.parametrize(
    "body",
    [
        '{"data": ' + _with('"is_valid": false, "is_valid": true') + "}",
        '{"data": ' + _with('"is_valid": true, "is_valid": false') + "}",
        '{"data": ' + _with('"is_valid": true, "is_valid": true') + "}",
        f'{{"data": {BAD}, "data": {GOOD}}}',
        f'{{"data": {GOOD.replace(APP, OTHER + ", " + APP)}}}',
        f'{{"data": {GOOD.replace(APP, OTHER + ", " + ESCAPED)}}}',
        '{"data": ' + _with('"is_valid": true, "metadata": {"a": 1, "a": 2}') + "}",
    ],
    ids=["yes last", "no last", "same twice", "data", "app_id", "escaped spelling", "nested"],
)
def test_B02_duplicate_keys(door, guard, graph, body):
    json.loads(body)  # a lenient reader takes it
    graph.replies[TOKEN] = Reply(body.encode())
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.reason, answer.ran) == (503, "unavailable", False)
    assert positives(guard) == negatives(guard) == 0


SUBCODES = [
    (458, "not_authorized", "login"),
    (459, "checkpointed", "visit_facebook"),
    (460, "password_changed", "login"),
    (463, "expired", "login"),
    (464, "unconfirmed_user", "visit_facebook"),
    (466, "session_invalidated", "login"),
    (467, "logged_out", "login"),
    (490, "checkpointed", "visit_facebook"),
    (492, "role_lost", "none"),
    (493, "app_inactive", "login"),
    (461, "invalid_token", "login"),
]


@pytest.mark.parametrize(("subcode", "reason", "action"), SUBCODES)
def test_B05_subcode_inside_data(door, guard, graph, subcode, reason, action):
    graph.replies[TOKEN] = dead(190, subcode)
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.reason, answer.ran) == (401, reason, False)
    assert (answer.json["code"], answer.json["subcode"]) == (190, subcode)
    assert answer.json["relogin"]["action"] == action
    assert f'relogin="{action}"' in answer.challenge


@pytest.mark.parametrize(("subcode", "reason", "action"), SUBCODES)
def test_B05_error_subcode_of_our_own_call(door, guard, graph, subcode, reason, action):
    """The other spelling is read too; at the top it is about our credential: nobody is logged out."""
    graph.replies[TOKEN] = envelope(190, subcode)
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.reason, answer.ran) == (503, "unavailable", False)
    assert (answer.json["code"], answer.json["subcode"]) == (190, subcode)
    assert answer.challenge == ""
    assert negatives(guard) == 0


PERFECT = json.dumps({"data": facts()})


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "null",
        "5",
        "true",
        '"data"',
        "[]",
        "{}",
        json.dumps([{"data": facts()}]),
        '{"data": null}',
        '{"data": []}',
        '{"data": "is_valid"}',
        '{"data": true}',
        '{"data": {}}',
        json.dumps({"data": [facts()]}),
        json.dumps({"data": json.dumps(facts())}),
        json.dumps(facts()),
        json.dumps({"Data": facts()}),
        json.dumps({"data": {"data": facts()}}),
        "\ufeff" + PERFECT,
        PERFECT + "x",
        PERFECT + PERFECT,
        PERFECT[:-1],
        f"for (;;);{PERFECT}",
        f"callback({PERFECT})",
        PERFECT.replace('"', "'"),
        f"<html><body>{PERFECT}</body></html>",
    ],
    ids=lambda body: body[:20] or "empty",
)
def test_B03_shape(door, guard, graph, body):
    graph.replies[TOKEN] = Reply(body.encode())
    undecided(door(guard), guard)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_B03_another_encoding(door, guard, graph, encoding):
    graph.replies[TOKEN] = Reply(PERFECT.encode(encoding))
    undecided(door(guard), guard)


@pytest.mark.parametrize("error", [{"code": 190}, {"code": 190, "subcode": 463}, {}, None, [], "no", False])
@pytest.mark.parametrize("status", [200, 400])
def test_B04_error_beside_validity(door, guard, graph, error, status):
    for reply in ({"data": facts(error=error)}, {"data": facts(), "error": error}):
        graph.replies[TOKEN] = Reply(json.dumps(reply).encode(), status)
        undecided(door(guard), guard)


def test_B04_another_apps_error_beside_data(door, guard, graph):
    error = json.loads(OTHER_APP.body)["error"]
    graph.replies[TOKEN] = Reply(json.dumps({"data": facts(), "error": error}).encode())
    undecided(door(guard), guard)


MOMENTS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1",
    '"1570820400"',
    '"0"',
    '""',
    "true",
    "false",
    "1.5",
    "0.0",
    "1.8e9",
    str(2**63),
    str(2**63 - 1),
    str(NOW * 1000),
    "9" * 4000,
    "[]",
    "{}",
]


@pytest.mark.parametrize("name", ["expires_at", "data_access_expires_at", "issued_at"])
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment[:20])
def test_B06_odd_expires_at(door, guard, graph, name, moment):
    body = json.dumps({"data": facts(**{name: "HERE"})}).replace('"HERE"', moment)
    graph.replies[TOKEN] = Reply(body.encode())
    undecided(door(guard), guard)


def test_B06_the_last_second_there_is(door, guard, graph, clock):
    """Far away is not for ever: the fact is asked for anew after the ttl."""
    graph.replies[TOKEN] = valid(expires_at=253_402_300_799)
    behind = door(guard)
    assert behind.send(TOKEN).info.expires_at.year == 9999
    clock.advance(300)
    assert behind.send(TOKEN).status == 200
    assert graph.calls == [TOKEN, TOKEN]
