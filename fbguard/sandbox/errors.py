"""Facebook's errors in Facebook's own words.

The messages are data: codes and texts as the Graph API error handling guide, the debug_token
reference and recorded replies give them. Clients match on them, so no letter is ours.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

OAUTH = "OAuthException"
GRAPH_METHOD = "GraphMethodException"

LOGGED_OUT = 467
PASSWORD_CHANGED = 460
APP_REMOVED = 458
CHECKPOINT = 459
EXPIRED = 463
UNCONFIRMED = 464
INVALIDATED = 466

CANNOT_PARSE = "Invalid OAuth access token - Cannot parse access token"
CANNOT_DECRYPT = "The access token could not be decrypted"
BAD_SIGNATURE = "Invalid OAuth access token signature."
UNKNOWN_APP = "Error validating application. Cannot get application info due to a system error."

Headers = tuple[tuple[str, str], ...]

_SESSION_ENDED: Mapping[int, str] = {
    LOGGED_OUT: "The session is invalid because the user logged out.",
    PASSWORD_CHANGED: "The session has been invalidated because the user changed their password"
    " or Facebook has changed the session for security reasons.",
    APP_REMOVED: "User {user_id} has not authorized application {app_id}.",
    CHECKPOINT: "You cannot access the app till you log in to www.facebook.com"
    " and follow the instructions given.",
    UNCONFIRMED: "Sessions for the user are not allowed because the user is not a confirmed user.",
    INVALIDATED: "The session was invalidated explicitly using an API call.",
}
_SESSION_PREFIX = "Error validating access token: "

# Facebook prints Pacific time; one fixed offset spares a time zone database.
_PACIFIC = timezone(timedelta(hours=-8), "PST")

# The account that a business use case limit (80000 to 80014) is counted on.
_LIMITED_ACCOUNT: Mapping[int, str] = {
    80000: "from this ad-account",
    80001: "to this Page account",
    80004: "to this ad-account",
    80008: "to this WhatsApp Business account",
}
BUSINESS_LIMITS = range(80000, 80015)
_LIMITS: Mapping[int, str] = {
    1: "An unknown error occurred",
    2: "An unexpected error has occurred. Please retry your request later.",
    4: "(#4) Application request limit reached",
    9: "(#9) User is performing too many actions",
    17: "(#17) User request limit reached",
    32: "(#32) Page request limit reached",
    341: "(#341) Feed action request limit reached",
    368: "(#368) The action attempted has been deemed abusive or is otherwise disallowed",
    613: "(#613) Calls to this api have exceeded the rate limit.",
} | {
    code: f"(#{code}) There have been too many calls {_LIMITED_ACCOUNT.get(code, 'to this account')}."
    " Wait a bit and try again. For more info, please refer to"
    " https://developers.facebook.com/docs/graph-api/overview/rate-limiting."
    for code in BUSINESS_LIMITS
}
# Recorded with `is_transient`; the others are seen without.
_TRANSIENT = frozenset({1, 2, 4})
_OUTAGES = frozenset({1, 2})
THROTTLE_CODES = frozenset(_LIMITS)

_REGAIN_MINUTES = 5


class GraphError(Exception):
    """An answer of Graph's that is an error; ``status`` is the HTTP status it travels with."""

    def __init__(
        self,
        message: str,
        code: int,
        *,
        kind: str = OAUTH,
        subcode: int | None = None,
        status: int = 400,
        transient: bool = False,
        headers: Headers = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.kind = kind
        self.subcode = subcode
        self.status = status
        self.transient = transient
        self.headers = headers

    def body(self, fbtrace_id: str) -> dict[str, object]:
        """Return the envelope ``{"error": {...}}`` with Graph's keys, in Graph's order."""
        error: dict[str, object] = {"message": self.message, "type": self.kind}
        if self.transient:
            error["is_transient"] = True
        error["code"] = self.code
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        error["fbtrace_id"] = fbtrace_id
        return {"error": error}

    def challenge(self) -> Headers:
        """Return the ``WWW-Authenticate`` field that Graph adds to every OAuthException.

        Four quoted or bare words without ``key=value``: not the syntax of RFC 9110, and reproduced
        for that reason.
        """
        if self.kind != OAUTH:
            return ()
        words = {190: "invalid_token", 102: "invalid_token", 803: "not_found"}
        # The message may repeat the path; a header holds printable ASCII and no quote.
        shown = "".join(letter if " " <= letter <= "~" and letter != '"' else "?" for letter in self.message)
        word = words.get(self.code, "invalid_request")
        return (("WWW-Authenticate", f'OAuth "Facebook Platform" "{word}" "{shown}"'),)


def no_such_node(method: str, node: str) -> GraphError:
    """Return the error for an id that is nobody's, or of which the caller may not even know."""
    message = (
        f"Unsupported {method.lower()} request. Object with ID '{node}' does not exist, cannot be loaded due"
        " to missing permissions, or does not support this operation. Please read the Graph API documentation"
        " at https://developers.facebook.com/docs/graph-api"
    )
    return GraphError(message, 100, kind=GRAPH_METHOD, subcode=33)


def no_such_field(field: str, kind: str) -> GraphError:
    """Return the error for a field or an edge that nodes of this kind do not have."""
    return GraphError(f"(#100) Tried accessing nonexisting field ({field}) on node type ({kind})", 100)


def session_ended(subcode: int, user_id: str | None, app_id: str) -> str:
    """Return the message for a session that ended by ``subcode``."""
    return _SESSION_PREFIX + _SESSION_ENDED[subcode].format(user_id=user_id, app_id=app_id)


def session_expired(expires_at: int, now: float) -> str:
    """Return the message for a session whose time ran out; both arguments in unix seconds."""
    return (
        f"{_SESSION_PREFIX}Session has expired on {_date(expires_at)}. The current time is {_date(int(now))}."
    )


def throttled(code: int, app_id: str) -> GraphError:
    """Return the error of a limit that is reached, with the usage headers that go with it."""
    return GraphError(
        _LIMITS[code],
        code,
        status=500 if code in _OUTAGES else 400,
        transient=code in _TRANSIENT,
        headers=_usage(code, app_id),
    )


def _usage(code: int, app_id: str) -> Headers:
    spent = {"call_count": 100, "total_cputime": 25, "total_time": 25}
    if code in BUSINESS_LIMITS:
        entry = {"type": "pages", **spent, "estimated_time_to_regain_access": _REGAIN_MINUTES}
        return (("X-Business-Use-Case-Usage", json.dumps({app_id: [entry]})),)
    return (("X-App-Usage", json.dumps(spent)),) if code == 4 else ()  # noqa: PLR2004 - the app's own limit


def _date(seconds: int) -> str:
    """Return a date such as ``Wednesday, 16-Nov-22 07:45:51 PST``."""
    return datetime.fromtimestamp(seconds, _PACIFIC).strftime("%A, %d-%b-%y %H:%M:%S PST")
