"""What is sent to Graph about several tokens at once, and how the reply is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.facebook import debug_token
from fbguard.facebook.batch import MAX_ITEMS, read, written
from fbguard.facebook.debug_token import UNAVAILABLE
from tests.support import OTHER_APP, Reply, dead, envelope, valid


def item(reply: Reply, **more: object) -> dict[str, Any]:
    return {"code": reply.status, "body": reply.body.decode(), **more}


def reading(*items: object, status: int = 200) -> Sequence[TokenInfo | Finding | None] | Finding | None:
    return read(status, json.dumps(items).encode(), [f"feedfeed{number:04}" for number in range(len(items))])


# -- what is sent ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token", ["EAAb", "a+b/c~d.e_f-g==", "a&access_token=x", "a#b?c", 'a"b\\c', "%2B", "{x}"]
)
def test_every_symbol_of_a_token_arrives(token):
    sent = written(Secret("1|&=+ "), [Secret("first"), Secret(token)])
    assert token not in repr(sent)
    form = dict(parse_qsl(sent.reveal(), strict_parsing=True))
    first, second = json.loads(form.pop("batch"))
    assert form == {"access_token": "1|&=+ ", "include_headers": "false"}
    assert first == {"method": "GET", "relative_url": "debug_token?input_token=first"}
    assert (set(second), second["method"]) == ({"method", "relative_url"}, "GET")
    parts = urlsplit(second["relative_url"])
    assert (parts.path, parts.fragment) == ("debug_token", "")
    assert parse_qsl(parts.query, strict_parsing=True) == [("input_token", token)]


def test_the_order_is_kept():
    tokens = [f"EAA{number}" for number in range(MAX_ITEMS)]
    form = written(Secret("1|s"), [Secret(token) for token in tokens]).reveal()
    sent = json.loads(dict(parse_qsl(form))["batch"])
    assert [one["relative_url"].rpartition("=")[2] for one in sent] == tokens


# -- what comes back about each token --------------------------------------------------------------------

REPLIES = [
    valid(),
    valid(user_id="7", scopes=["email"]),
    valid(app_id="999"),
    valid(user_id=...),
    valid(is_valid=False),
    dead(190, 463),
    dead(4),
    dead(2),
    OTHER_APP,
    *[envelope(code) for code in (1, 2, 3, 4, 80001, 100, 101, 104, 190)],
    envelope(1, status=500),
    Reply(b""),
    Reply(b"<html>", 502),
    Reply(b"{}", 200),
    Reply(valid().body, 500),
]


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: f"{reply.status} {reply.body[:60]!r}")
def test_an_item_is_read_like_a_single_reply(reply):
    expected = debug_token.read(reply.status, reply.body, "feedfeed0001")
    outcomes = reading(item(valid()), item(reply, headers=[]), item(valid()))
    assert isinstance(outcomes, list)
    assert outcomes[1] == expected
    assert getattr(outcomes[1], "is_answer", None) == getattr(expected, "is_answer", None)
    assert [outcomes[0].fingerprint, outcomes[2].fingerprint] == ["feedfeed0000", "feedfeed0002"]


def test_answers_stand_in_the_order_of_the_questions():
    outcomes = reading(*[item(valid(user_id=str(number + 1))) for number in range(MAX_ITEMS)])
    assert [(one.user_id, one.fingerprint) for one in outcomes] == [
        (str(number + 1), f"feedfeed{number:04}") for number in range(MAX_ITEMS)
    ]


def test_what_was_not_done_in_time_is_open():
    outcomes = reading(item(valid()), None, None)
    assert outcomes[1:] == [None, None]
    assert outcomes[0].user_id == "1001"


@pytest.mark.parametrize(
    "junk",
    [
        {},
        [],
        5,
        "x",
        True,
        {"code": 200},
        {"body": valid().body.decode()},
        {"code": "200", "body": valid().body.decode()},
        {"code": True, "body": valid().body.decode()},
        {"code": 200.0, "body": valid().body.decode()},
        {"code": None, "body": valid().body.decode()},
        {"code": 200, "body": None},
        {"code": 200, "body": json.loads(valid().body)},
        {"code": 200, "body": valid().body.decode() + " " * 64 * 1024},
        {"code": 200, "body": "\ud800"},
        {"code": 200, "body": "[" * 60_000},
        {"code": 200, "body": '{"data": {"is_valid": NaN}}'},
        {"code": 200, "body": '{"data": {}, "data": {}}'},
    ],
    ids=lambda junk: repr(junk)[:50],
)
def test_junk_for_one_token_is_a_dont_know_for_that_token(junk):
    outcomes = reading(item(valid()), junk, item(dead(190, 463)))
    assert outcomes[1] == UNAVAILABLE
    assert (outcomes[0].is_valid, outcomes[2].error.reason) == (True, "expired")


# -- what comes back about all of them -------------------------------------------------------------------


NO_JSON = pytest.mark.parametrize(
    "body",
    [b"", b"{", b"<html>", b"\xff", b"[" * 100_000, b"[NaN", b"9" * 5000],
    ids=lambda body: repr(body[:9]),
)


@NO_JSON
@pytest.mark.parametrize("status", [500, 502, 503])
def test_of_a_graph_that_is_down_no_json_is_a_dont_know(status, body):
    assert read(status, body, ["a", "b"]) == UNAVAILABLE


@NO_JSON
@pytest.mark.parametrize("status", [200, 400, 404, 413, 499])
def test_no_json_else_may_be_about_the_batch(status, body):
    """Too long, for us or for something on the way: who waits asks alone. An empty body is one not read."""
    assert read(status, body, ["a", "b"]) is None


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        *[
            (envelope(code, status=status), "throttled")
            for code in (4, 17, 613, 80001)
            for status in (400, 429, 500)
        ],
        *[(envelope(code), "unavailable") for code in (1, 2, 960)],
        (envelope(190, status=500), "unavailable"),
        (Reply(b"{}", 500), "unavailable"),
        (Reply(b"null", 503), "unavailable"),
        (Reply(b"[]", 502), "unavailable"),
    ],
)
def test_graph_is_out_of_order(reply, reason):
    outcome = read(reply.status, reply.body, ["a", "b"])
    assert isinstance(outcome, Finding)
    assert outcome.reason == reason


@pytest.mark.parametrize("code", [3, 99, 190, 2500])
def test_what_graph_calls_transient_is_no_refusal(code):
    error = {"message": "Please retry.", "type": "OAuthException", "code": code, "is_transient": True}
    outcome = read(400, json.dumps({"error": error}).encode(), ["a", "b"])
    assert isinstance(outcome, Finding)
    assert (outcome.reason, outcome.blames_us) == ("unavailable", False)


@pytest.mark.parametrize(
    "reply",
    [
        *[envelope(code) for code in (3, 10, 100, 101, 104, 190, 200, 2500)],
        OTHER_APP,
        valid(),
        Reply(b"{}"),
        Reply(b"null"),
        Reply(b"5"),
        Reply(b'"x"'),
        Reply(b"[]"),
        Reply(json.dumps([item(valid())]).encode()),
        Reply(json.dumps([item(valid())] * 3).encode()),
        Reply(json.dumps([item(valid())] * 2).encode(), 400),
        Reply(b"{}", 404),
    ],
    ids=lambda reply: f"{reply.status} {reply.body[:60]!r}",
)
def test_what_was_asked_is_not_done(reply):
    assert read(reply.status, reply.body, ["a", "b"]) is None


def test_nobody_gets_an_answer_that_was_meant_for_all():
    """A single fact instead of a list is nobody's."""
    assert read(200, valid().body, ["a"]) is None
