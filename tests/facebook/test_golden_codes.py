"""Every code, subcode and type that Graph is known to send, and what the guard makes of it.

The tables are written out by hand from Facebook's documents and from what the SDKs got wrong; nothing here is
computed from the package.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from fbguard import OAuthException, raise_for_graph_error
from fbguard.context import inject
from fbguard.core.carrier import Carrier, entered
from fbguard.core.secret import Secret
from fbguard.reports import refusal_of
from fbguard.sandbox import Sandbox
from tests.support import TOKEN, http_scope, make_guard

ME = "https://graph.facebook.com/v26.0/me"
TYPES = ("OAuthException", "GraphMethodException", "FacebookApiException", "")
LOGIN, TRANSIENT, OTHER = "login_recoverable", "transient", "other"

# What a row expects: the reason, the status of the answer (None: it is the application's own), the category.
Expected = tuple[str | None, int | None, str]
OWN: Expected = (None, None, OTHER)
THROTTLED: Expected = ("throttled", 503, TRANSIENT)
UNAVAILABLE: Expected = ("unavailable", 503, TRANSIENT)
INVALID: Expected = ("invalid_token", 401, LOGIN)
SCOPE: Expected = ("insufficient_scope", 403, OTHER)

CODES: dict[tuple[int | None, int | None], Expected] = {
    (1, None): UNAVAILABLE,
    (2, None): UNAVAILABLE,
    (3, None): OWN,
    (4, None): THROTTLED,
    (4, 1504022): THROTTLED,
    (4, 1349193): THROTTLED,
    (5, None): OWN,
    (6, None): OWN,
    (7, None): OWN,
    (8, None): OWN,
    (9, None): THROTTLED,
    (10, None): SCOPE,
    (11, None): OWN,
    (12, None): OWN,
    (13, None): OWN,
    (14, None): OWN,
    (15, None): OWN,
    (16, None): OWN,
    (17, None): THROTTLED,
    (17, 2446079): THROTTLED,
    (32, None): THROTTLED,
    (100, None): OWN,
    (100, 33): OWN,
    (101, None): OWN,
    (102, None): INVALID,
    (103, None): OWN,
    (104, None): OWN,
    (110, None): OWN,
    (190, None): INVALID,
    (191, None): OWN,
    (199, None): OWN,
    (300, None): OWN,
    (326, None): ("checkpointed", 401, LOGIN),
    (341, None): THROTTLED,
    (368, None): ("throttled", 503, OTHER),
    (368, 4854002): ("throttled", 503, OTHER),
    (412, None): ("not_authorized", 401, LOGIN),
    (450, None): INVALID,
    (451, None): INVALID,
    (452, None): INVALID,
    (453, None): INVALID,
    (454, None): INVALID,
    (455, None): INVALID,
    (506, None): OWN,
    (613, None): THROTTLED,
    (803, None): OWN,
    (960, None): UNAVAILABLE,
    (2500, None): OWN,
    (79999, None): OWN,
    (80000, None): THROTTLED,
    (80001, None): THROTTLED,
    (80002, None): THROTTLED,
    (80003, None): THROTTLED,
    (80004, None): THROTTLED,
    (80005, None): THROTTLED,
    (80006, None): THROTTLED,
    (80007, None): THROTTLED,
    (80008, None): THROTTLED,
    (80009, None): THROTTLED,
    (80010, None): THROTTLED,
    (80011, None): THROTTLED,
    (80012, None): THROTTLED,
    (80013, None): THROTTLED,
    (80014, None): THROTTLED,
    (80015, None): OWN,
    (1363030, None): OWN,
    (1609005, None): OWN,
    (99999, None): OWN,
    (0, None): OWN,
    (-1, None): OWN,
    (None, None): OWN,
    # A number that means a dead session below 190 is nothing of the kind below another code.
    (100, 463): OWN,
    (200, 458): SCOPE,
    (4, 463): THROTTLED,
    (2, 460): UNAVAILABLE,
    (99999, 463): OWN,
}

SUBCODES: dict[int, Expected] = {
    452: INVALID,
    456: INVALID,
    457: INVALID,
    458: ("not_authorized", 401, LOGIN),
    459: ("checkpointed", 401, LOGIN),
    460: ("password_changed", 401, LOGIN),
    461: INVALID,
    462: INVALID,
    463: ("expired", 401, LOGIN),
    464: ("unconfirmed_user", 401, LOGIN),
    465: INVALID,
    466: ("session_invalidated", 401, LOGIN),
    467: ("logged_out", 401, LOGIN),
    468: INVALID,
    490: ("checkpointed", 401, LOGIN),
    492: ("role_lost", 401, LOGIN),
    493: ("app_inactive", 401, LOGIN),
}

MESSAGES: dict[str, str] = {
    "Error validating access token: Session has expired on Friday, 12-Aug-22 05:00:00 PDT.": "expired",
    "Sessions for the user are not allowed because the user is not a confirmed user.": "unconfirmed_user",
    "Error validating access token: User 1001 has not authorized application 42.": "not_authorized",
    "Error validating access token: The session is invalid because the user logged out.": "logged_out",
    "The session is over because the user changed the password.": "password_changed",
    "The session does not match current stored session.": "password_changed",
    "The session has been invalidated because Facebook has changed it.": "session_invalidated",
    "The session was invalidated explicitly using an API call.": "session_invalidated",
    "Invalid OAuth access token - Cannot parse access token": "malformed_token",
    "The access token could not be decrypted": "malformed_token",
    "Malformed access token AAAA": "malformed_token",
    "The session key 'x' is malformed": "malformed_token",
}

NEVER_401 = [1, 2, 4, 9, 17, 32, 341, 368, 613, 960, *range(80000, 80015)]


@pytest.fixture(scope="module")
def carrier() -> Iterator[Carrier]:
    """Give a request that carries TOKEN, as a door has left it."""
    with make_guard() as guard:
        scope = http_scope()
        inject(scope, guard, guard.check(TOKEN), token=Secret(TOKEN))
        with entered(scope):
            yield scope


def heard(error: dict[str, object], status: int = 400) -> OAuthException:
    """Let Graph answer a call with this request's token, and hear what it says."""
    request = httpx.Request("GET", ME, headers={"Authorization": f"Bearer {TOKEN}"})
    with pytest.raises(OAuthException) as caught:
        raise_for_graph_error(httpx.Response(status, json={"error": error}, request=request))
    return caught.value


def both(
    code: int | None, subcode: int | None, message: str = "Some words.", **more: object
) -> Iterator[OAuthException]:
    """Give an error once raised by hand and once read from a body, of every type."""
    for kind in TYPES:
        yield OAuthException(message, type=kind, code=code, subcode=subcode, **more)
        numbers = {"code": code, "error_subcode": subcode, **more}
        body = {name: value for name, value in numbers.items() if value is not None}
        yield heard({"message": message, "type": kind, **body})


def understood(carrier: Carrier, error: OAuthException) -> Expected:
    refused = refusal_of(carrier, error)
    if refused is not None:
        assert refused.reason == error.reason
        assert (refused.code, refused.subcode) == (error.code, error.subcode)
    return error.reason, None if refused is None else refused.status, error.category


@pytest.mark.parametrize(("numbers", "expected"), CODES.items())
def test_every_code(carrier, numbers, expected):
    for error in both(*numbers):
        assert understood(carrier, error) == expected


@pytest.mark.parametrize("code", range(200, 300))
def test_every_permission_code(carrier, code):
    for error in both(code, None):
        assert understood(carrier, error) == SCOPE


@pytest.mark.parametrize("code", [190, 102])
@pytest.mark.parametrize(("subcode", "expected"), [*SUBCODES.items(), (99999, INVALID), (0, INVALID)])
def test_every_subcode_of_a_dead_session(carrier, code, subcode, expected):
    for error in both(code, subcode):
        assert understood(carrier, error) == expected


@pytest.mark.parametrize(("subcode", "expected"), SUBCODES.items())
def test_every_subcode_without_a_code(carrier, subcode, expected):
    """As a bare OAuthException the same numbers have been seen with the same meaning."""
    for error in both(None, subcode):
        assert understood(carrier, error) == expected


def test_a_number_that_nobody_knows_without_a_code_logs_nobody_out(carrier):
    for error in both(None, 99999):
        assert understood(carrier, error) == OWN


@pytest.mark.parametrize("code", [190, 102, None])
@pytest.mark.parametrize(("message", "reason"), MESSAGES.items())
def test_the_message_decides_where_the_subcode_is_missing(carrier, code, message, reason):
    for said in (message, message.lower(), message.upper()):
        for error in both(code, None, said):
            assert understood(carrier, error) == (reason, 401, LOGIN)


@pytest.mark.parametrize("message", ["Invalid OAuth access token.", "Error validating access token.", ""])
def test_190_with_a_message_that_nobody_knows(carrier, message):
    for code in (190, 102):
        for error in both(code, None, message):
            assert understood(carrier, error) == INVALID
    for error in both(None, None, message):
        expected = INVALID if message == "Invalid OAuth access token." else OWN
        assert understood(carrier, error) == expected


@pytest.mark.parametrize("code", [190, 102, None])
def test_a_subcode_decides_before_the_message(carrier, code):
    for error in both(code, 467, "Session has expired"):
        assert understood(carrier, error) == ("logged_out", 401, LOGIN)


@pytest.mark.parametrize("code", [3, 100, 104, 191, 803, 2500, 99999])
@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_about_sessions_says_nothing_below_another_code(carrier, code, message):
    for error in both(code, None, message):
        assert understood(carrier, error) == OWN


def test_2500_is_a_missing_token_or_a_path_that_graph_cannot_parse(carrier):
    missing = "An active access token must be used to query information about the current user."
    for error in both(2500, None, missing):
        assert understood(carrier, error) == ("missing_token", 401, LOGIN)
    for error in both(2500, None, "Unknown path components: /likez"):
        assert understood(carrier, error) == OWN


@pytest.mark.parametrize(
    "message",
    ["(#100) The App_id in the input_token did not match the Viewing App", "DID NOT MATCH THE VIEWING APP"],
)
def test_100_of_another_apps_token(carrier, message):
    for error in both(100, None, message):
        assert understood(carrier, error) == ("wrong_app", 401, OTHER)
    for error in both(190, None, message):
        assert understood(carrier, error) == INVALID


@pytest.mark.parametrize("code", NEVER_401)
@pytest.mark.parametrize("subcode", [None, 458, 459, 460, 463, 464, 467])
def test_limits_and_outages_never_log_anybody_out(carrier, code, subcode):
    for error in both(code, subcode, "Error validating access token: Session has expired"):
        reason, status, category = understood(carrier, error)
        assert (reason, status) == ("unavailable" if code in {1, 2, 960} else "throttled", 503)
        assert category != LOGIN


@pytest.mark.parametrize(
    ("code", "subcode"),
    [
        (190, 463),
        (190, None),
        (102, 460),
        (10, None),
        (200, None),
        (100, None),
        (412, None),
        (99999, None),
        (None, None),
        (None, 463),
        (1, None),
        (2500, None),
        (326, None),
    ],
)
def test_is_transient_wins(carrier, code, subcode):
    for error in both(code, subcode, "did not match the Viewing App", is_transient=True):
        assert understood(carrier, error) == UNAVAILABLE


@pytest.mark.parametrize("code", [4, 9, 17, 32, 341, 368, 613, 80004])
def test_a_limit_that_is_transient_stays_a_limit(carrier, code):
    for error in both(code, None, is_transient=True):
        assert understood(carrier, error) == THROTTLED


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 500, 503])
def test_the_http_status_does_not_change_what_an_error_says(carrier, status):
    expired = heard({"message": "x", "type": "OAuthException", "code": 190, "error_subcode": 463}, status)
    assert understood(carrier, expired) == ("expired", 401, LOGIN)
    unknown = heard({"message": "x", "type": "OAuthException", "code": 100}, status)
    assert understood(carrier, unknown) == OWN
    limited = heard({"message": "x", "type": "OAuthException", "code": 4}, status)
    assert understood(carrier, limited) == THROTTLED


# -- what Facebook's PHP SDK got wrong ----------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported get request. Object with ID '1' does not exist, or may not be read",
        "(#100) Tried accessing nonexisting field (foo) on node type (User)",
        "API calls from the server require an appsecret_proof argument",
        "Invalid appsecret_proof provided in the API argument",
        "This authorization code has been used.",
    ],
)
def test_100_is_no_matter_of_logging_in(carrier, message):
    for error in both(100, None, message):
        assert understood(carrier, error) == OWN


@pytest.mark.parametrize("code", [3, 5, 101, 191, 506, 803, 1609005, 99999, None])
def test_the_type_oauthexception_alone_logs_nobody_out(carrier, code):
    assert understood(carrier, OAuthException("(#3) x", type="OAuthException", code=code)) == OWN


@pytest.mark.parametrize("code", [32, 613])
def test_32_and_613_are_limits(carrier, code):
    for error in both(code, None, "Calls to this api have exceeded the rate limit."):
        assert understood(carrier, error) == THROTTLED


def test_a_token_that_never_expires_did_not_expire_in_1970():
    sandbox = Sandbox()
    token = sandbox.issue_token(expires_in=None)
    with (
        sandbox.guard() as guard,
        httpx.Client(transport=sandbox.transport) as client,
    ):
        info = guard.check(token)
        app = f"{sandbox.app_id}|{sandbox.app_secret}"
        url = "https://graph.facebook.com/debug_token"
        said = client.get(url, params={"input_token": token, "access_token": app}).json()["data"]
    assert said["expires_at"] == 0
    assert info.is_valid
    assert info.expires_at is None


# -- as they stand in Facebook's documents and in recorded replies --------------------------------------

RECORDED = [
    (
        {
            "message": "Error validating access token: Session has expired on Friday, 12-Aug-22 05:00:00 PDT."
            " The current time is Friday, 12-Aug-22 06:33:33 PDT.",
            "type": "OAuthException",
            "code": 190,
            "error_subcode": 463,
            "fbtrace_id": "AbC",
        },
        ("expired", 401, LOGIN),
    ),
    (
        {
            "message": "(#4) Application request limit reached",
            "type": "OAuthException",
            "is_transient": True,
            "code": 4,
        },
        THROTTLED,
    ),
    (
        {
            "message": "(#80001) There have been too many calls to this Page account.",
            "type": "OAuthException",
            "code": 80001,
        },
        THROTTLED,
    ),
    (
        {
            "message": "An unexpected error has occurred. Please retry your request later.",
            "type": "OAuthException",
            "is_transient": True,
            "code": 2,
        },
        UNAVAILABLE,
    ),
    ({"message": "(#200) Requires pages_manage_posts", "type": "OAuthException", "code": 200}, SCOPE),
    ({"type": "OAuthException", "message": "Error validating access token."}, OWN),
    (
        {
            "type": "OAuthException",
            "message": "Error validating access token: Session has expired at unix time 1315000000.",
        },
        ("expired", 401, LOGIN),
    ),
    (
        {
            "message": "The user is enrolled in a blocking, logged-in checkpoint",
            "type": "OAuthException",
            "code": 190,
            "error_data": '{"checkpoint_flow_id": "1", "checkpoint_content_id": "0"}',
            "error_subcode": 490,
        },
        ("checkpointed", 401, LOGIN),
    ),
]


@pytest.mark.parametrize(("error", "expected"), RECORDED)
def test_recorded_errors(carrier, error, expected):
    with pytest.raises(OAuthException) as caught:
        raise_for_graph_error({"error": error})
    assert understood(carrier, caught.value) == expected
