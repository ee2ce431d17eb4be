"""debug_token's reply, read strictly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fbguard import TokenInfo
from fbguard.core.reasons import Finding, classify_token_error
from fbguard.facebook.debug_token import UNAVAILABLE, read
from tests.support import APP_ID, NOW, OTHER_APP, Reply, dead, envelope, facts, valid

DATA = Path(__file__).parents[1] / "data"


def understood(reply: Reply) -> TokenInfo | Finding:
    return read(reply.status, reply.body, "0123456789ab")


def of(**changes: object) -> TokenInfo | Finding:
    return understood(valid(**changes))


# -- the texts of Facebook's own page about debugging access tokens, byte for byte -----------------


def document(name: str) -> bytes:
    return (DATA / f"debug_token_{name}.json").read_bytes()


def test_the_documented_success():
    info = read(200, document("success"), "0123456789ab")
    assert info == TokenInfo(
        app_id="{app-id}",
        type="USER",
        is_valid=True,
        user_id="10215241773831025",
        application="{app-name}",
        scopes=frozenset({"pages_show_list", "public_profile"}),
        granular_scopes=info.granular_scopes,
        issued=0,
        expires=1570820400,
        data_access_expires=1576687825,
        fingerprint="0123456789ab",
    )
    assert dict(info.granular_scopes) == {
        "pages_show_list": ("{page-1-app-can-access-id}", "{page-2-app-can-access-id}")
    }
    assert info.issued_at is None
    assert info.expires_at.isoformat() == "2019-10-11T19:00:00+00:00"
    assert info.data_access_expires_at.isoformat() == "2019-12-18T16:50:25+00:00"


DOCUMENTED = [
    ("error_463", 463, "expired", "expired"),
    # The page prints 460 for a log-out; the number decides, the message where there is none.
    ("error_460", 460, "password_changed", "logged_out"),
    ("error_458", 458, "not_authorized", "not_authorized"),
]


def error_of(name: str) -> dict[str, object]:
    """Return the error object of a document; the one of 458 has a brace too many behind it."""
    return json.JSONDecoder().raw_decode(document(name).decode())[0]["error"]


@pytest.mark.parametrize(("name", "subcode", "reason", "by_message"), DOCUMENTED)
def test_what_the_documented_errors_mean(name, subcode, reason, by_message):
    error = error_of(name)
    assert (error["type"], error["code"], error["error_subcode"]) == ("OAuthException", 190, subcode)
    assert classify_token_error(190, error["error_subcode"], error["message"]) == reason
    assert classify_token_error(190, None, error["message"]) == by_message


@pytest.mark.parametrize(("name", "subcode", "reason", "by_message"), DOCUMENTED)
def test_the_documented_errors_about_the_callers_token(name, subcode, reason, by_message):
    """Inside ``data`` the same code, number and words are about the token that was asked about."""
    error = error_of(name)
    for given, expected in ((subcode, reason), (None, by_message)):
        info = understood(dead(190, given, error["message"]))
        assert (info.is_valid, info.error.reason, info.error.subcode) == (False, expected, given)


@pytest.mark.parametrize("status", [200, 400, 401])
@pytest.mark.parametrize(("name", "subcode"), [("error_463", 463), ("error_460", 460)])
def test_the_documented_errors_as_a_reply(name, subcode, status):
    """At the top they are about the credential of the call, ours: nobody is logged out by it."""
    finding = read(status, document(name), "")
    assert (finding.reason, finding.code, finding.subcode) == ("unavailable", 190, subcode)
    assert finding.retry_after >= 1


def test_the_documented_error_that_is_no_json():
    body = document("error_458")
    assert body.endswith(b" } } }")
    assert read(400, body, "") == UNAVAILABLE
    finding = read(400, body.removesuffix(b" }"), "")
    assert (finding.reason, finding.code, finding.subcode) == ("unavailable", 190, 458)


# -- yes -------------------------------------------------------------------------------------------


def test_a_full_reply():
    granular = [{"scope": "a", "target_ids": ["1", 2]}, {"scope": "b"}, {"scope": "c", "target_ids": []}]
    info = of(
        app_id=int(APP_ID),
        user_id=1001,
        profile_id="77",
        issued_at=NOW - 1,
        scopes=["a", "b", "a"],
        granular_scopes=granular,
        metadata={"sso": "iphone-safari"},
    )
    assert (info.app_id, info.user_id, info.profile_id) == (APP_ID, "1001", "77")
    assert info.scopes == {"a", "b"}
    assert dict(info.granular_scopes) == {"a": ("1", "2"), "b": None, "c": ()}
    assert (info.issued, info.expires, info.fingerprint) == (NOW - 1, NOW + 3600, "0123456789ab")
    assert info.error is None


def test_facts_are_immutable():
    info = of(granular_scopes=[{"scope": "a", "target_ids": ["1"]}])
    with pytest.raises(AttributeError):
        info.user_id = "2"
    with pytest.raises(TypeError):
        info.granular_scopes["a"] = None
    assert not hasattr(info, "__dict__")
    assert hash(info) == hash(of(granular_scopes=[{"scope": "a", "target_ids": ["1"]}]))


def test_unknown_fields_are_left_alone():
    assert of(roles=["admin"], __proto__={"is_valid": True}, future=1.5) == of()


def test_an_app_token():
    info = of(type="APP", user_id=..., expires_at=..., data_access_expires_at=..., scopes=[])
    assert (info.type, info.user_id, info.expires) == ("APP", None, 0)


@pytest.mark.parametrize(
    ("value", "seconds"), [(0, 0), (1, 1), (NOW, NOW), (253_402_300_799, 253_402_300_799)]
)
def test_moments(value, seconds):
    info = of(expires_at=value, data_access_expires_at=value, issued_at=value)
    assert (info.expires, info.data_access_expires, info.issued) == (seconds,) * 3
    assert (info.expires_at is None) == (seconds == 0)


# -- no --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (dead(190, 463), "expired"),
        (dead(190, None, "Session has expired"), "expired"),
        (dead(190, None, "Invalid OAuth access token - Cannot parse access token"), "malformed_token"),
        (dead(102, 460), "password_changed"),
        (dead(99999), "invalid_token"),
        (dead(412), "not_authorized"),
        (OTHER_APP, "wrong_app"),
        (Reply(OTHER_APP.body, 200), "wrong_app"),
        (dead(100, None, "did not match the Viewing App"), "wrong_app"),
    ],
)
def test_definite_noes(reply, reason):
    info = understood(reply)
    assert (info.is_valid, info.error.reason) == (False, reason)


def test_a_dead_token_of_which_graph_says_nothing_else():
    error = b'{"code": 190, "message": "Cannot parse access token"}'
    body = b'{"data": {"error": %s, "is_valid": false, "scopes": []}}' % error
    info = read(200, body, "")
    assert (info.app_id, info.type, info.user_id, info.error.reason) == ("", "", None, "malformed_token")


@pytest.mark.parametrize(
    "error", [{}, {"code": "190"}, {"code": None}, {"code": True}, {"message": 5}], ids=repr
)
def test_an_error_that_says_little(error):
    assert of(is_valid=False, error=error).error.reason == "invalid_token"


# -- don't know ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1, 2, 4, 9, 17, 32, 341, 368, 613, 960, 80004])
@pytest.mark.parametrize("make", [dead, envelope], ids=["inside", "at the top"])
def test_transient_codes(make, code):
    finding = understood(make(code))
    assert finding.reason == ("unavailable" if code in {1, 2, 960} else "throttled")
    assert finding.retry_after >= 1


@pytest.mark.parametrize("inside", [True, False])
def test_is_transient_wins(inside):
    error = {"code": 190, "subcode": 463, "message": "x", "is_transient": True}
    body = {"data": facts(is_valid=False, error=error)} if inside else {"error": error}
    assert read(200, json.dumps(body).encode(), "").reason == "unavailable"


@pytest.mark.parametrize("code", [3, 100, 101, 104, 190, 102, 200, 2500, 99999, None, "190"])
def test_errors_about_our_own_call(code):
    assert understood(envelope(code)).reason == "unavailable"


@pytest.mark.parametrize("status", [200, 400, 401, 500])
@pytest.mark.parametrize(
    ("code", "blames_us"),
    [
        *[(code, True) for code in (100, 101, 102, 104, 190)],
        *[(code, False) for code in (1, 2, 3, 4, 10, 17, 200, 2500, 80001, 99_999, None, "190", True)],
    ],
)
def test_which_errors_may_be_about_our_credential(code, blames_us, status):
    finding = understood(envelope(code, status=status))
    assert isinstance(finding, Finding)
    assert finding.blames_us is blames_us


@pytest.mark.parametrize("code", [100, 101, 102, 104, 190])
def test_nothing_else_is_about_our_credential(code):
    transient = {"error": {"code": code, "message": "Retry.", "is_transient": True}}
    assert not understood(Reply(json.dumps(transient).encode(), 400)).blames_us
    beside = {"error": {"code": code, "message": ""}, "data": facts()}
    assert not understood(Reply(json.dumps(beside).encode(), 400)).blames_us
    assert isinstance(understood(dead(code)), TokenInfo)
    assert isinstance(understood(OTHER_APP), TokenInfo)


@pytest.mark.parametrize("status", [201, 204, 206, 301, 304, 400, 401, 403, 429, 500, 503])
def test_a_status_that_does_not_fit(status):
    assert read(status, valid().body, "") == UNAVAILABLE
    assert read(status, dead(190, 463).body, "") == UNAVAILABLE


def test_an_error_beside_validity():
    assert of(error={"code": 190, "subcode": 463}).reason == "unavailable"
    both = {"error": {"code": 100, "message": "did not match the Viewing App"}, "data": facts()}
    assert read(200, json.dumps(both).encode(), "").reason == "unavailable"


GOOD = valid().body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"5",
        b'"data"',
        b"{}",
        b'{"data": null}',
        b'{"data": []}',
        b'{"data": [{}]}',
        b'{"data": "x"}',
        b'{"data": {}}',
        b'{"error": null}',
        b'{"error": []}',
        b'{"error": "x"}',
        b"\xef\xbb\xbf" + GOOD,
        GOOD + b"x",
        GOOD + GOOD,
        GOOD[:-1],
        b"<html>" + GOOD,
        b"for(;;);" + GOOD,
        GOOD.decode().encode("utf-16"),
        GOOD.replace(b"Test App", b"Test \xff"),
        b"[" * 60_000,
        b'{"data":' * 9_000,
        GOOD.replace(b'"1001"', b"9" * 5000),
        GOOD.replace(b'"1001"', b'"\\ud800"'),
        GOOD.replace(b"Test App", b"\\udfff"),
        GOOD.replace(b'"email"', b'"\\ud800"'),
        GOOD.replace(b"true", b"True"),
        GOOD.replace(b"true", b"tru"),
        GOOD.replace(b'"', b"'"),
    ],
    ids=lambda body: repr(body[:24]),
)
def test_bodies_that_nobody_can_read(body):
    assert read(200, body, "") == UNAVAILABLE


ABOUT_ONE = [
    (200, dead(1).body),
    (200, dead(2).body),
    (200, dead(4).body),
    (200, dead(80001).body),
    (200, b"{}"),
    (200, b'{"data": {}}'),
    (200, b'{"error": null}'),
    (200, b'{"error": {"code": "4"}}'),
    (200, GOOD.replace(b"true", b"1")),
    (404, GOOD),
    (400, envelope(3).body),
    (400, envelope(9999).body),
    (403, envelope(190).body),
    (499, envelope(9999).body),
]
ABOUT_GRAPH = [
    (200, b""),
    (200, b"{"),
    (200, b"[]"),
    (200, b"null"),
    (404, b"<html>"),
    (500, b"{}"),
    (500, GOOD),
    (502, dead(4).body),
    (500, envelope(9999).body),
    (500, envelope(190).body),
    *[(status, envelope(code).body) for code in (1, 2, 960, 4, 17, 613, 80001) for status in (200, 400, 500)],
    (400, b'{"error": {"message": "x", "code": 9999, "is_transient": true}}'),
    (400, b'{"error": {"message": "x", "is_transient": true}}'),
]


@pytest.mark.parametrize(
    ("status", "body", "is_answer"),
    [(*one, True) for one in ABOUT_ONE] + [(*one, False) for one in ABOUT_GRAPH],
    ids=lambda value: repr(value)[:40],
)
def test_whether_a_dont_know_is_about_one_token_or_about_graph(status, body, is_answer):
    """What Graph says about one token, however odd, shows that it is there."""
    outcome = read(status, body, "")
    assert isinstance(outcome, Finding)
    assert outcome.is_answer == is_answer


def moments(text: str) -> bytes:
    return GOOD.replace(str(NOW + 3600).encode(), text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1",
        '"1570820400"',
        "true",
        "1.5",
        "1e9",
        f"{NOW}000",
        str(2**63),
        "[]",
    ],
)
def test_odd_moments(text):
    assert read(200, moments(text), "") == UNAVAILABLE


@pytest.mark.parametrize("key", ["expires_at", "data_access_expires_at", "issued_at"])
@pytest.mark.parametrize("value", [-1, 1.5, "5", True, NOW * 1000])
def test_every_moment_is_checked(key, value):
    assert of(**{key: value}) == UNAVAILABLE


@pytest.mark.parametrize("kind", ["USER", "PAGE", "SYSTEM_USER", "OTHER", ""])
@pytest.mark.parametrize("value", [..., None])
def test_a_missing_expiry_is_not_never(kind, value):
    assert of(type=kind, expires_at=value) == UNAVAILABLE


@pytest.mark.parametrize(
    "scopes", ["email,public_profile", {}, {"email": 1}, [1], [None], [["email"]], True, 5], ids=repr
)
def test_scopes_of_another_type(scopes):
    assert of(scopes=scopes) == UNAVAILABLE


@pytest.mark.parametrize("scopes", [..., None, []])
def test_no_scopes(scopes):
    assert of(scopes=scopes).scopes == frozenset()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("application", 5),
        ("application", ["x"]),
        ("type", 5),
        ("type", ["USER"]),
        ("profile_id", 1.5),
        ("profile_id", True),
        ("profile_id", ["1"]),
        ("app_id", 1.5),
        ("error", "x"),
        ("error", []),
        ("error", True),
    ],
)
def test_fields_of_another_type(key, value):
    assert of(**{key: value}) == UNAVAILABLE
