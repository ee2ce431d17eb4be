"""The table of reasons, and every way of Graph's into it."""

from __future__ import annotations

import re

import pytest

from fbguard.core import messages
from fbguard.core.reasons import REASONS, THROTTLE_CODES, classify_token_error, is_dont_know, is_other_app
from fbguard.facebook import debug_token
from tests.support import dead, envelope

# name: status, error of the challenge, action, auth_type
TABLE = {
    "missing_token": (401, None, "login", None),
    "invalid_request": (400, "invalid_request", "none", None),
    "malformed_token": (401, "invalid_token", "login", None),
    "invalid_token": (401, "invalid_token", "login", None),
    "expired": (401, "invalid_token", "login", None),
    "expires_soon": (401, "invalid_token", "login", None),
    "password_changed": (401, "invalid_token", "login", None),
    "logged_out": (401, "invalid_token", "login", None),
    "session_invalidated": (401, "invalid_token", "login", None),
    "not_authorized": (401, "invalid_token", "login", None),
    "checkpointed": (401, "invalid_token", "visit_facebook", None),
    "unconfirmed_user": (401, "invalid_token", "visit_facebook", None),
    "role_lost": (401, "invalid_token", "none", None),
    "app_inactive": (401, "invalid_token", "login", "reauthorize"),
    "wrong_app": (401, "invalid_token", "login", None),
    "wrong_token_type": (401, "invalid_token", "login", None),
    "data_access_expired": (401, "invalid_token", "login", "reauthorize"),
    "login_too_old": (401, "insufficient_user_authentication", "login", "reauthenticate"),
    "insufficient_scope": (403, "insufficient_scope", "login", "rerequest"),
    "insufficient_target": (403, "insufficient_scope", "login", "rerequest"),
    "limited_login": (401, "invalid_token", "login", None),
    "throttled": (503, None, "wait", None),
    "unavailable": (503, None, "wait", None),
}
QUOTABLE = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6750 section 3


@pytest.mark.parametrize("name", TABLE)
def test_the_table(name):
    row = REASONS[name]
    assert (row.status, row.error, row.action, row.auth_type) == TABLE[name]
    assert row.name == name


@pytest.mark.parametrize("name", sorted(REASONS))
def test_every_reason_can_be_said(name):
    row = REASONS[name]
    assert QUOTABLE.fullmatch(row.title)
    assert QUOTABLE.fullmatch(row.detail)
    for language in messages.CATALOGUES:
        assert messages.message(name, language).strip()


def test_no_message_without_a_reason():
    for catalogue in messages.CATALOGUES.values():
        assert set(catalogue) == set(REASONS)


def test_the_table_is_read_only():
    with pytest.raises(TypeError):
        REASONS["expired"] = REASONS["logged_out"]  # type: ignore[index]


SUBCODES = {
    452: "invalid_token",
    456: "invalid_token",
    457: "invalid_token",
    458: "not_authorized",
    459: "checkpointed",
    460: "password_changed",
    461: "invalid_token",
    462: "invalid_token",
    463: "expired",
    464: "unconfirmed_user",
    465: "invalid_token",
    466: "session_invalidated",
    467: "logged_out",
    468: "invalid_token",
    490: "checkpointed",
    492: "role_lost",
    493: "app_inactive",
    99999: "invalid_token",
}
CODES = {
    326: "checkpointed",
    412: "not_authorized",
    **dict.fromkeys(range(450, 456), "invalid_token"),
    99999: "invalid_token",
    None: "invalid_token",
}
MESSAGES = {
    "Error validating access token: Session has expired on Friday. The time is Saturday.": "expired",
    "Sessions for the user are not allowed because the user is not a confirmed user.": "unconfirmed_user",
    "Error validating access token: User 1 has not authorized application 2.": "not_authorized",
    "Error validating access token: The session is invalid because the user logged out.": "logged_out",
    "The user has changed the password.": "password_changed",
    "The session does not match current stored session. This may be because ...": "password_changed",
    "The session has been invalidated because ...": "session_invalidated",
    "The session was invalidated explicitly using an API call.": "session_invalidated",
    "Invalid OAuth access token - Cannot parse access token": "malformed_token",
    "The access token could not be decrypted": "malformed_token",
    "Malformed access token AAAA": "malformed_token",
    "The session key 'x' is malformed": "malformed_token",
    "Session key missing": "invalid_token",
    "Invalid OAuth access token signature.": "invalid_token",
    "": "invalid_token",
    # The first hit of the order decides.
    "has been invalidated because the user changed the password": "password_changed",
    "Session has expired, cannot parse": "expired",
}


@pytest.mark.parametrize("code", [190, 102])
@pytest.mark.parametrize(("subcode", "reason"), SUBCODES.items())
def test_subcodes(code, subcode, reason):
    assert classify_token_error(code, subcode, "") == reason
    # A subcode that is there decides, whatever the message says.
    assert classify_token_error(code, subcode, "Session has expired") == reason


@pytest.mark.parametrize("code", [190, 102])
@pytest.mark.parametrize(("message", "reason"), MESSAGES.items())
def test_messages_decide_where_the_subcode_is_missing(code, message, reason):
    assert classify_token_error(code, None, message) == reason
    assert classify_token_error(code, None, message.upper()) == reason


@pytest.mark.parametrize(("code", "reason"), CODES.items())
def test_codes(code, reason):
    assert classify_token_error(code, None, "") == reason
    if code is not None:  # their meaning is their own; no subcode changes it
        assert classify_token_error(code, 463, "Session has expired") == reason


@pytest.mark.parametrize(("subcode", "reason"), SUBCODES.items())
def test_both_spellings_of_the_subcode(subcode, reason):
    inside = dead(190, subcode)
    info = debug_token.read(inside.status, inside.body, "")
    assert (info.error.reason, info.error.code, info.error.subcode) == (reason, 190, subcode)
    at_the_top = envelope(190, subcode)
    finding = debug_token.read(at_the_top.status, at_the_top.body, "")
    assert (finding.reason, finding.code, finding.subcode) == ("unavailable", 190, subcode)


@pytest.mark.parametrize("code", [4, 9, 17, 32, 341, 368, 613, *range(80000, 80015)])
def test_throttling(code):
    assert code in THROTTLE_CODES
    assert is_dont_know(code, transient=False) == is_dont_know(code, transient=True) == "throttled"


@pytest.mark.parametrize("code", [1, 2, 960])
def test_outages(code):
    assert is_dont_know(code, transient=False) == "unavailable"


@pytest.mark.parametrize("code", [None, 0, 3, 100, 190, 102, 79999, 80015])
def test_transient_wins_over_every_other_code(code):
    assert is_dont_know(code, transient=True) == "unavailable"
    assert is_dont_know(code, transient=False) is None


@pytest.mark.parametrize(
    ("code", "message", "other"),
    [
        (100, "(#100) The App_id in the input_token did not match the Viewing App", True),
        (100, "DID NOT MATCH THE VIEWING APP", True),
        (100, "(#100) You must provide an app access token", False),
        (190, "The App_id in the input_token did not match the Viewing App", False),
        (None, "did not match the Viewing App", False),
    ],
)
def test_the_other_app(code, message, other):
    assert is_other_app(code, message) is other
    assert (classify_token_error(code, None, message) == "wrong_app") is other
