"""Rows B: hostile or odd replies of debug_token."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import json

import pytest

from tests.support import TOKEN, Reply, dead, envelope, facts, negatives, positives, valid


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
