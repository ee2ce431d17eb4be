"""A login at Facebook: the dialog's address, the form that carries its code, and what comes back."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.facebook.debug_token import RETRY_THROTTLED, RETRY_UNAVAILABLE, UNAVAILABLE
from fbguard.facebook.login import code_form, dialog_url, read_token
from fbguard.sandbox import Sandbox
from fbguard.sandbox.errors import UNKNOWN_APP, session_ended
from fbguard.sandbox.wire import Request
from tests.support import APP_ID, SECRET, TOKEN, Reply, envelope

URI = "https://api.example.com/back?a=b&c=d+e"
CODE = "AQ-_.~b&c=d+e%20f#_=_"
ODD = "p|q&r=s%74+u?#\"<>'\\~;:@,/"  # all of it may stand in a secret
WRONG_SECRET = "Error validating client secret."
USED = "This authorization code has been used."


def read(reply: Reply) -> Secret | Finding:
    return read_token(reply.status, reply.body)


def told(body: object, status: int = 200) -> Secret | Finding:
    return read_token(status, json.dumps(body).encode())


# -- what is sent --------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [SECRET, ODD])
def test_the_form_of_a_code(secret):
    form = code_form(Secret(f"{APP_ID}|{secret}"), URI, Secret(CODE))
    assert sorted(parse_qsl(form.reveal(), strict_parsing=True)) == [
        ("client_id", APP_ID),
        ("client_secret", secret),
        ("code", CODE),
        ("redirect_uri", URI),
    ]
    assert form.reveal().count("&") == 3


def test_nothing_shows_a_form():
    form = code_form(Secret(f"{APP_ID}|{SECRET}"), URI, Secret(CODE))
    assert [repr(form), str(form), f"{form}", f"{[form]}"] == ["***", "***", "***", "[***]"]


# -- a token -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"token_type": "bearer"},
        {"token_type": "bearer", "expires_in": 5183944},
        {"expires": 5183944},
        {"expires_in": "soon", "token_type": None},
        {"message": "of its own", "code": 190},
    ],
    ids=str,
)
def test_a_token(more):
    found = told({"access_token": TOKEN, **more})
    assert found == Secret(TOKEN)
    assert repr(found) == "***"


@pytest.mark.parametrize("token", ["a", "EAA-._~+/==", "x" * 4096, "a.b.c", "eyJ.a", "eyJ.a.b.c"], ids=len)
def test_any_shape_that_a_request_may_bring_back(token):
    assert told({"access_token": token}) == Secret(token)


@pytest.mark.parametrize("status", [100, 201, 204, 302, 400, 401, 500])
def test_a_token_that_comes_with_another_status(status):
    assert told({"access_token": TOKEN}, status) == UNAVAILABLE


@pytest.mark.parametrize(
    "token",
    [
        *("", " ", f" {TOKEN}", f"{TOKEN}\n", f"{TOKEN} {TOKEN}", f"{APP_ID}|{SECRET}", "=", "a=b"),
        *("caf\u00e9", "\ud800", "\x00", "a;b", 'a"b', "a,b", "x" * 4097),
        *("eyJ.a.b", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl"),
        *(None, True, 1, 1.5, [TOKEN], {"value": TOKEN}),
    ],
    ids=lambda token: ascii(token)[:30],
)
def test_what_no_request_could_bring_back_is_no_token(token):
    assert told({"access_token": token}) == UNAVAILABLE


# -- a no ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subcode", "message"),
    [
        (36007, "This authorization code has expired."),
        (36008, "Error validating verification code. Please make sure your redirect_uri is identical to it"),
        (36009, USED),
        (None, "Invalid verification code format."),
        (None, "(#100) Invalid parameter"),
        (33, "Unsupported post request."),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 403])
def test_a_code_that_is_worth_nothing(subcode, message, status):
    assert read(envelope(100, subcode, message, status)) == Finding("invalid_token", 100, subcode)


@pytest.mark.parametrize("code", [102, 190])
@pytest.mark.parametrize(
    ("subcode", "reason"),
    [
        (458, "not_authorized"),
        (459, "checkpointed"),
        (460, "password_changed"),
        (463, "expired"),
        (464, "unconfirmed_user"),
        (490, "checkpointed"),
        (1, "invalid_token"),
        (None, "invalid_token"),
    ],
)
def test_an_account_that_is_held(code, subcode, reason):
    assert read(envelope(code, subcode)) == Finding(reason, code, subcode)


def test_an_account_that_is_held_by_the_message_alone():
    assert read(envelope(190, None, session_ended(464, "42", APP_ID))).reason == "unconfirmed_user"


def test_a_no_is_an_answer():
    """Graph is there, whatever it says about one code."""
    assert read(envelope(100, 36009)).is_answer
    assert read(envelope(190, 459)).is_answer
    assert not any(read(envelope(code)).is_answer for code in (1, 2, 4))
    assert not read(Reply(b"", 500)).is_answer


def test_an_error_beside_a_token_counts():
    error = {"code": 100, "error_subcode": 36009, "message": USED}
    assert told({"access_token": TOKEN, "error": error}) == Finding("invalid_token", 100, 36009)


@pytest.mark.parametrize("depth", [400, 100_000])
def test_an_error_with_more_inside_than_anybody_reads(depth):
    inside = b'{"a":' * depth + b"1" + b"}" * depth
    reply = b'{"error":{"code":190,"error_subcode":460,"error_data":' + inside + b"}}"
    expected = Finding("password_changed", 190, 460) if depth == 400 else UNAVAILABLE
    assert read_token(400, reply) == expected


# -- what is said about us -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (1, WRONG_SECRET),
        (1, WRONG_SECRET.upper()),
        (101, UNKNOWN_APP),
        (101, "Missing client_id parameter."),
        (101, ""),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_what_is_our_fault(code, message, status):
    assert read(envelope(code, None, message, status)) == Finding(
        "unavailable", code, retry_after=RETRY_UNAVAILABLE, blames_us=True
    )


def test_what_is_our_fault_keeps_its_subcode():
    found = read(envelope(101, 7))
    assert (found.code, found.subcode, found.blames_us) == (101, 7, True)


# -- nobody knows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (1, "An unknown error occurred"),
        (1, ""),
        (2, "An unexpected error has occurred. Please retry your request later."),
        (2, WRONG_SECRET),
        (960, ""),
        (3, ""),
        (10, "(#10) Application does not have permission for this action"),
        (104, WRONG_SECRET),
        (191, "redirect_uri isn't an absolute URI"),
        (200, ""),
        (803, ""),
        (2500, "Unknown path components: /access_token"),
        (36009, USED),
        (0, ""),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_other_errors_are_about_no_code(code, message, status):
    assert read(envelope(code, None, message, status)) == Finding(
        "unavailable", code, retry_after=RETRY_UNAVAILABLE
    )


@pytest.mark.parametrize(("code", "subcode"), [(100, 36009), (190, 460), (102, None), (3, None)])
def test_what_graph_calls_transient_is_no_answer(code, subcode):
    error = {"code": code, "error_subcode": subcode, "message": "x", "is_transient": True}
    assert told({"error": error}, 400) == Finding("unavailable", code, subcode, retry_after=RETRY_UNAVAILABLE)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"type": "OAuthException", "message": "Error validating verification code."}},
        {"error": {"code": -1, "message": USED}},
        {"error": {"code": None, "message": USED}},
        {"error": {"code": "one hundred"}},
        {"error": {"code": True}},
        {"error": {"code": [100]}},
        {"error": {}},
        {"error": "invalid_grant", "error_description": USED},
        {"error": ["x"]},
        {"error_msg": WRONG_SECRET},
    ],
    ids=str,
)
@pytest.mark.parametrize("status", [200, 400])
def test_an_error_without_a_number(body, status):
    assert told(body, status) == UNAVAILABLE


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"\xff", b"{", b"<html>", b"<!doctype html><title>502</title>", b"OK", TOKEN.encode()),
        *(b"access_token=EAAold&expires=5183944", b"/**/f({})", b"NaN", b"1" * 5000),
        *(b"null", b"true", b"7", b"1.5", b'"text"', b"[]", b"{}", b"[null]", b'[{"access_token":"EAAx"}]'),
        *(b'{"data":{"access_token":"EAAx"}}', b'{"Access_Token":"EAAx"}', b'{"token_type":"bearer"}'),
        *(b'{"access_token":"EAAx","access_token":"EAAy"}', b'{"access_token":"EAAx","expires_in":NaN}'),
        *('{"access_token":"EAAx"}'.encode("utf-16"), '\ufeff{"access_token":"EAAx"}'.encode()),
        *(b"[" * 100_000, b'{"a":' * 100_000, b"[" * 400 + b"]" * 400),
    ],
    ids=lambda body: repr(body[:24]),
)
@pytest.mark.parametrize("status", [200, 400, 500, 502])
def test_what_nobody_can_read(body, status):
    assert read_token(status, body) == UNAVAILABLE


@pytest.mark.parametrize("code", [4, 9, 17, 32, 341, 368, 613, 80000, 80001, 80014])
@pytest.mark.parametrize("status", [200, 400, 403, 429, 500])
def test_throttled(code, status):
    assert read(envelope(code, status=status)) == Finding("throttled", code, retry_after=RETRY_THROTTLED)


def test_throttled_for_the_moment():
    error = {"code": 4, "error_subcode": 1504022, "message": "limit", "is_transient": True}
    assert told({"error": error}, 403) == Finding("throttled", 4, 1504022, retry_after=RETRY_THROTTLED)


# -- as the sandbox says it ----------------------------------------------------------------------------


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(app_id=APP_ID, app_secret=SECRET)


def code_of(sandbox: Sandbox, **dialog: str) -> str:
    """Log a person in; return the code that the app is sent."""
    url = dialog_url("https://www.facebook.com", "v26.0", client_id=APP_ID, redirect_uri=URI, **dialog)
    return parse_qs(urlsplit(sandbox.log_in(url, user_id="42")).query)["code"][0]


def exchanged(
    sandbox: Sandbox, code: str, credential: str = f"{APP_ID}|{SECRET}", uri: str = URI
) -> Secret | Finding:
    form = code_form(Secret(credential), uri, Secret(code)).reveal().encode()
    kind = [("Content-Type", "application/x-www-form-urlencoded")]
    reply = sandbox.handle(Request.of("POST", "/v26.0/oauth/access_token", kind, form)).reply
    return read_token(reply.status, reply.body)


def test_a_code_of_the_sandbox(sandbox):
    code = code_of(sandbox)
    found = exchanged(sandbox, code)
    with sandbox.guard() as guard:
        assert guard.check(found.reveal()).user_id == "42"
    assert exchanged(sandbox, code) == Finding("invalid_token", 100, 36009)


def test_codes_that_the_sandbox_refuses(sandbox):
    code = code_of(sandbox)
    assert exchanged(sandbox, "nobodys") == Finding("invalid_token", 100)
    assert exchanged(sandbox, code, uri=f"{URI}/") == Finding("invalid_token", 100, 36008)
    sandbox.checkpoint("42")
    assert exchanged(sandbox, code) == Finding("checkpointed", 190, 459)
    sandbox.unconfirm("42")
    assert exchanged(sandbox, code) == Finding("unconfirmed_user", 190, 464)
    sandbox.restore("42")
    sandbox.clock.advance(601)
    assert exchanged(sandbox, code) == Finding("invalid_token", 100, 36007)


@pytest.mark.parametrize(
    ("credential", "code"),
    [(f"{APP_ID}|other", 1), (f"{APP_ID}|", 1), (f"99|{SECRET}", 101), (f"|{SECRET}", 101)],
)
def test_a_credential_that_the_sandbox_refuses(sandbox, credential, code):
    found = exchanged(sandbox, code_of(sandbox), credential)
    assert (found.reason, found.code, found.blames_us) == ("unavailable", code, True)


@pytest.mark.parametrize(("code", "reason"), [(1, "unavailable"), (2, "unavailable"), (4, "throttled")])
def test_moods_of_the_sandbox(sandbox, code, reason):
    sandbox.throttle(code)
    found = exchanged(sandbox, "x")
    assert (found.reason, found.code, found.blames_us) == (reason, code, False)


# -- the dialog ----------------------------------------------------------------------------------------


def query_of(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)


@pytest.mark.parametrize("state", ["x", "a b&scope=c#d%20", ""])
def test_the_dialog_with_a_state(state):
    url = dialog_url(
        "https://www.example",
        "v26.0",
        client_id="42",
        redirect_uri=URI,
        scopes=["email", "user_friends"],
        auth_type="rerequest",
        state=state,
    )
    assert url.startswith("https://www.example/v26.0/dialog/oauth?")
    assert query_of(url) == [
        ("client_id", "42"),
        ("redirect_uri", URI),
        ("scope", "email,user_friends"),
        ("auth_type", "rerequest"),
        ("state", state),
    ]


def test_the_dialog_with_nothing_but_a_state():
    url = dialog_url("https://www.example", "v26.0", client_id="42", redirect_uri=URI, state="x")
    assert query_of(url) == [("client_id", "42"), ("redirect_uri", URI), ("state", "x")]


def test_whoever_adds_the_state_does_so_alone():
    url = dialog_url("https://www.example", "v26.0", client_id="42", redirect_uri=URI, scopes=["email"])
    assert query_of(url) == [("client_id", "42"), ("redirect_uri", URI), ("scope", "email")]


def test_the_state_comes_back(sandbox):
    url = dialog_url("https://www.facebook.com", "v26.0", client_id=APP_ID, redirect_uri=URI, state="a b&c=d")
    assert ("state", "a b&c=d") in query_of(sandbox.log_in(url, user_id="42"))
