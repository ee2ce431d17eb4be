"""Why a request is refused: the one table, and how Graph's codes lead into it.

The rules, in the order they are read:

1. ``is_transient`` or a code of :data:`TRANSIENT_CODES` is "don't know": nothing was said about the token.
2. A code of the throttle family is "don't know" too, although Graph types it ``OAuthException``.
3. ``#100 ... did not match the Viewing App`` is another app's token.
4. Codes with one meaning (:data:`CODE_REASONS`) decide alone.
5. Everything else is a dead token: its subcode decides (:data:`SUBCODE_REASONS`); a *missing* subcode
   leaves the decision to the message (:data:`MESSAGE_REASONS`); what nobody knows is ``invalid_token``.

Errors of other Graph calls, which a view makes, go through the same table by
:func:`classify_call_error`: there, what is not known to be about the token is the application's.

Sources: Graph API "Handling errors", the debug_token reference, the mobile SDKs' error categories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal

Action = Literal["login", "visit_facebook", "wait", "none"]
AuthType = Literal["rerequest", "reauthorize", "reauthenticate"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One row of the table: what a reason means to HTTP, to a developer and to the person.

    ``error`` is the ``error`` of the Bearer challenge (RFC 6750 section 3.1, RFC 9470 section 3);
    None where the challenge is bare (401) or absent (429, 503).
    """

    name: str
    status: int
    error: str | None
    action: Action
    title: str
    detail: str
    auth_type: AuthType | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A refusal before it is rendered: the reason and the facts that go with it.

    ``required`` is what the ``scope`` attribute of the challenge lists; ``missing`` is what the
    re-login hint asks for (None: the required ones); ``retry_after`` and ``max_age`` are seconds.
    ``detail`` is said to developers instead of the reason's own, where that would lead them astray: text of
    ours, in which nothing of a request stands.
    ``blames_us`` tells that Graph may have meant our own credential, and not the caller's token;
    ``is_answer`` that it is there and has spoken about one token, whatever it meant.
    """

    reason: str
    code: int | None = None
    subcode: int | None = None
    required: tuple[str, ...] = ()
    missing: tuple[str, ...] | None = None
    retry_after: int | None = None
    max_age: int | None = None
    detail: str | None = None
    blames_us: bool = False
    is_answer: bool = field(default=False, compare=False)


_INVALID = "invalid_token"

_ROWS: Final = (
    Reason(
        "missing_token", 401, None, "login", "Login required",
        "The request carries no access token. Send it as 'Authorization: Bearer <token>'.",
    ),
    Reason(
        "invalid_request", 400, "invalid_request", "none", "Ambiguous or malformed request",
        "Send exactly one credential, and a plain path without empty or dot segments.",
    ),
    Reason(
        "malformed_token", 401, _INVALID, "login", "Malformed access token",
        "The access token is malformed. Send a user access token of this app, unchanged.",
    ),
    Reason(
        "invalid_token", 401, _INVALID, "login", "Invalid access token",
        "The access token is not valid. Log in with Facebook again.",
    ),
    Reason(
        "expired", 401, _INVALID, "login", "Session expired",
        "The access token has expired. Log in with Facebook again.",
    ),
    Reason(
        "expires_soon", 401, _INVALID, "login", "Session expires too soon",
        "The access token lives shorter than this route asks for. Log in with Facebook again.",
    ),
    Reason(
        "password_changed", 401, _INVALID, "login", "Password changed or logged out",
        "The session ended because the password was changed or the user logged out.",
    ),
    Reason(
        "logged_out", 401, _INVALID, "login", "Logged out",
        "The session ended because the user logged out. Log in with Facebook again.",
    ),
    Reason(
        "session_invalidated", 401, _INVALID, "login", "Session ended",
        "The session was ended on request. Log in with Facebook again.",
    ),
    Reason(
        "not_authorized", 401, _INVALID, "login", "App not authorized",
        "The user has removed this app or never authorized it. Log in and consent again.",
    ),
    Reason(
        "checkpointed", 401, _INVALID, "visit_facebook", "Account check pending",
        "Facebook holds the account at a check. The user must visit facebook.com, then log in again.",
    ),
    Reason(
        "unconfirmed_user", 401, _INVALID, "visit_facebook", "Account not confirmed",
        "The account is not confirmed. The user must confirm it on facebook.com, then log in again.",
    ),
    Reason(
        "role_lost", 401, _INVALID, "none", "Page role lost",
        "The token's owner has lost the needed role on the Page. A new login does not help.",
    ),
    Reason(
        "app_inactive", 401, _INVALID, "login", "App inactive for this user",
        "The app is inactive for this user. Log in and authorize it again.", "reauthorize",
    ),
    Reason(
        "wrong_app", 401, _INVALID, "login", "Token of another app",
        "The access token was issued to another app. Log in through this app.",
    ),
    Reason(
        "wrong_token_type", 401, _INVALID, "login", "Wrong kind of token",
        "This route does not take this type of access token.",
    ),
    Reason(
        "data_access_expired", 401, _INVALID, "login", "Data access expired",
        "The app's access to the user's data has lapsed. Log in and consent again.", "reauthorize",
    ),
    Reason(
        "login_too_old", 401, "insufficient_user_authentication", "login", "Fresh login required",
        "This route needs a recent login with a long-lived token, whose login time Facebook states.",
        "reauthenticate",
    ),
    Reason(
        "insufficient_scope", 403, "insufficient_scope", "login", "Permission missing",
        "The access token lacks a permission that this route requires.", "rerequest",
    ),
    Reason(
        "insufficient_target", 403, "insufficient_scope", "login", "Permission missing for this target",
        "The permission was not granted for the page or account of this route.", "rerequest",
    ),
    Reason(
        "limited_login", 401, _INVALID, "login", "Limited Login token",
        "This is an OIDC token of Limited Login, where a Graph access token is needed.",
    ),
    Reason(
        "too_many_lookups", 429, None, "wait", "Too many unknown tokens",
        "Too many tokens that nobody knew came from this client. Try again later.",
    ),
    Reason(
        "throttled", 503, None, "wait", "Facebook limits our calls",
        "The token could not be checked because Facebook limits the calls of this app. Try again later.",
    ),
    Reason(
        "unavailable", 503, None, "wait", "Facebook could not be asked",
        "The token could not be checked. Try again later.",
    ),
    Reason(
        "misconfigured", 503, None, "none", "Guard misconfigured",
        "The token could not be checked: Facebook refuses the credential of this API itself.",
    ),
)  # fmt: skip

REASONS: Final[Mapping[str, Reason]] = MappingProxyType({row.name: row for row in _ROWS})
#: ``limited_login`` of a token that is taken, on a route with permissions that no such token has.
LIMITED_SCOPES: Final = Reason(
    "limited_login", 403, "insufficient_scope", "login", "Limited Login token",
    "Limited Login cannot grant a permission that this route requires. Log in with tracking allowed.",
)  # fmt: skip


_LATER: Final = frozenset({429, 503})


def may_pass(reason: str) -> bool:
    """Tell a reason that only says: not now. Nothing was said of the token."""
    return REASONS[reason].status in _LATER


def row_of(finding: Finding) -> Reason:
    """Return the row that answers a finding."""
    is_about_scopes = finding.reason == LIMITED_SCOPES.name and finding.missing is not None
    row = LIMITED_SCOPES if is_about_scopes else REASONS[finding.reason]
    return row if finding.detail is None else replace(row, detail=finding.detail)


THROTTLE_CODES: Final = frozenset({4, 9, 17, 32, 341, 368, 613, *range(80000, 80015)})
TRANSIENT_CODES: Final = frozenset({1, 2, 960})

CODE_REASONS: Final[Mapping[int, str]] = MappingProxyType({
    326: "checkpointed",
    412: "not_authorized",
    **dict.fromkeys(range(450, 456), "invalid_token"),
})  # fmt: skip

PERMISSION_CODES: Final = frozenset({10, *range(200, 300)})

SUBCODE_REASONS: Final[Mapping[int, str]] = MappingProxyType({
    **dict.fromkeys((452, 456, 457, 461, 462, 465, 468), "invalid_token"),
    458: "not_authorized",
    459: "checkpointed",
    460: "password_changed",
    463: "expired",
    464: "unconfirmed_user",
    466: "session_invalidated",
    467: "logged_out",
    490: "checkpointed",
    492: "role_lost",
    493: "app_inactive",
})  # fmt: skip

# Substrings of Graph's English message, lower case; the first row whose parts all occur decides.
MESSAGE_REASONS: Final = (
    (("session has expired",), "expired"),
    (("not a confirmed user",), "unconfirmed_user"),
    (("has not authorized application",), "not_authorized"),
    (("user logged out",), "logged_out"),
    (("changed the password",), "password_changed"),
    (("does not match current stored session",), "password_changed"),
    (("has been invalidated",), "session_invalidated"),
    (("invalidated explicitly",), "session_invalidated"),
    (("cannot parse",), "malformed_token"),
    (("could not be decrypted",), "malformed_token"),
    (("malformed access token",), "malformed_token"),
    (("session key", "is malformed"), "malformed_token"),
)

_SESSION_CODES: Final = frozenset({102, 190})
_NO_TOKEN_CODE: Final = 2500  # and of a path that Graph cannot parse
_NO_TOKEN_MESSAGE: Final = "an active access token"  # noqa: S105 - Graph's words
_INVALID_MESSAGE: Final = "invalid oauth access token"
_OTHER_APP_CODE: Final = 100
_OTHER_APP_MESSAGE: Final = "did not match the viewing app"


def is_other_app(code: int | None, message: str) -> bool:
    """Tell whether this is debug_token's ``#100`` for a token of another app.

    The same code has many other meanings, some of them our own mistake; only the message tells.
    """
    return code == _OTHER_APP_CODE and _OTHER_APP_MESSAGE in message.lower()


def is_dont_know(code: int | None, *, transient: bool) -> str | None:
    """Return ``"throttled"`` or ``"unavailable"`` when an error says nothing about the token."""
    if code in THROTTLE_CODES:
        return "throttled"
    if transient or code in TRANSIENT_CODES:
        return "unavailable"
    return None


def classify_token_error(code: int | None, subcode: int | None, message: str) -> str:
    """Return the reason for an error that Graph states about a token, by the rules above (3 to 5).

    ``subcode`` is ``error.subcode`` inside debug_token's ``data`` and ``error.error_subcode``
    everywhere else; both spellings mean the same.
    """
    if is_other_app(code, message):
        return "wrong_app"
    if code is not None and code not in _SESSION_CODES:
        return CODE_REASONS.get(code, "invalid_token")
    return _session_reason(subcode, message) or "invalid_token"


def classify_call_error(
    code: int | None, subcode: int | None, message: str, *, transient: bool
) -> str | None:
    """Return the reason for the error of any Graph call, None if it is not about token or limits.

    Unlike what debug_token says *about a token*, an error here may be about the path, a parameter or
    the app's settings: only what is known to be about the token is taken for that. So an unknown code
    of type ``OAuthException``, which Graph gives to almost all of its errors, logs nobody out.
    """
    if (reason := is_dont_know(code, transient=transient)) is not None:
        return reason
    if is_other_app(code, message):
        return "wrong_app"
    if code in PERMISSION_CODES:
        return "insufficient_scope"
    if code == _NO_TOKEN_CODE and _NO_TOKEN_MESSAGE in message.lower():
        return "missing_token"
    if code in _SESSION_CODES:
        return _session_reason(subcode, message) or "invalid_token"
    if code is None:  # bodies of old times have a message only, some a subcode
        is_named = _INVALID_MESSAGE in message.lower()
        return _session_reason(subcode, message) or ("invalid_token" if is_named else None)
    return CODE_REASONS.get(code)


def _session_reason(subcode: int | None, message: str) -> str | None:
    """Read a dead session's subcode; a missing one leaves the decision to the message."""
    if subcode is not None:
        return SUBCODE_REASONS.get(subcode)
    text = message.lower()
    for parts, reason in MESSAGE_REASONS:
        if all(part in text for part in parts):
            return reason
    return None
