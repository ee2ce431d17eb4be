"""What Graph's error codes and subcodes mean: the catalogue behind ``fbguard explain``. Pure data.

Only meaning, advice and source stand here. Which reason a code leads to is asked of
:mod:`fbguard.core.reasons` through :attr:`Row.in_look_up` and :attr:`Row.in_call`, so the two cannot
tell different stories. Names of sources are those of Facebook's pages and of its SDKs; a row that no
Facebook source backs is not ``confirmed``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fbguard.core.errors import OAuthException
from fbguard.core.reasons import classify_token_error, is_dont_know

TOKEN_CODE: Final = 190
SESSION_CODES: Final = frozenset({102, TOKEN_CODE})  # they share their subcodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The codes ``first`` to ``last``, with a subcode or without, and what they mean.

    ``message`` is set where the same code has several meanings: the part of Graph's text that tells
    this one. ``advice`` is for developers.
    """

    first: int
    last: int
    subcode: int | None = None
    message: str = ""
    meaning: str
    advice: str
    source: str
    confirmed: bool = True

    @property
    def codes(self) -> str:
        """The codes as one reads them: ``190`` or ``200-299``."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def in_look_up(self) -> str:
        """The reason if debug_token says this about a token (``data.error``)."""
        return reason_in_look_up(self.first, self.subcode, self.message)

    @property
    def in_call(self) -> str | None:
        """The reason if a view's own Graph call fails with this; None: the application's matter."""
        return OAuthException(self.message, code=self.first, subcode=self.subcode).reason


def reason_in_look_up(code: int, subcode: int | None, message: str = "") -> str:
    """Return the reason for an error that debug_token states about a token."""
    return is_dont_know(code, transient=False) or classify_token_error(code, subcode, message)


def look_up(code: int, subcode: int | None = None) -> tuple[Row, ...]:
    """Return the rows of a code or of a subcode: of all that match, the narrowest; none if unknown.

    Several rows are several meanings of one code, which only the message tells apart.
    """
    if subcode is not None and code in SESSION_CODES:
        code = TOKEN_CODE
    rows = [row for row in ROWS if row.subcode == subcode and row.first <= code <= row.last]
    width = min((row.last - row.first for row in rows), default=0)
    return tuple(row for row in rows if row.last - row.first == width)


def owners_of(subcode: int) -> tuple[int, ...]:
    """Return the codes under which a number is a subcode."""
    return tuple(row.first for row in ROWS if row.subcode == subcode)


_HANDLING: Final = "Graph API, Handling errors"
_RATES: Final = "Graph API, Rate limits"
_DEBUG_TOKEN: Final = "Graph API reference, debug_token"  # noqa: S105 - a page
_REST: Final = "REST API client library for PHP"
_HOW_TO: Final = "copies of an old login how-to page"
_SEEN: Final = "third-party code"

_BACK_OFF: Final = "Send fewer calls and wait; retries at once make it last longer."
_OLD_REST: Final = "Comes from the REST API of old days; a program of today has a call to mend."
_RETRY: Final = "Retry with growing pauses. Nothing was said about the token."


def _code(
    codes: int | tuple[int, int],
    meaning: str,
    advice: str,
    source: str,
    *,
    subcode: int | None = None,
    message: str = "",
    confirmed: bool = True,
) -> Row:
    first, last = codes if isinstance(codes, tuple) else (codes, codes)
    return Row(
        first=first, last=last, subcode=subcode, message=message,
        meaning=meaning, advice=advice, source=source, confirmed=confirmed,
    )  # fmt: skip


def _session(subcode: int, meaning: str, advice: str, source: str, *, confirmed: bool = True) -> Row:
    return _code(TOKEN_CODE, meaning, advice, source, subcode=subcode, confirmed=confirmed)


_NEW_LOGIN: Final = "Only a new login helps: drop the token and send the person to the login dialog."

ROWS: Final[tuple[Row, ...]] = (
    _code(1, "Something failed inside Facebook, perhaps an outage.",
          "Retry once or twice; if it stays, look at the path and the parameters.", _HANDLING),
    _code(2, "A service of Facebook's is down.", _RETRY, _HANDLING),
    _code(3, "The app may not use this method, or it does not exist.",
          "Look at the app's capabilities in its dashboard.", _HANDLING),
    _code(4, "The app has made too many calls.",
          f"{_BACK_OFF} The count runs over an hour, for all users together.", _RATES),
    _code(4, "Graph limits its load as a whole.", _BACK_OFF, _SEEN, subcode=1504022, confirmed=False),
    _code(4, "The app is not approved for this number of calls.", f"{_BACK_OFF} App review raises it.",
          _SEEN, subcode=1349193, confirmed=False),
    _code(5, "The call came from an address that is not allowed.",
          "Look at the app's list of server addresses.", _REST),
    _code((6, 8), "The call went to the wrong host, or without https (8).", _OLD_REST, _REST),
    _code(9, "The person does too much in too short a time.", _BACK_OFF, "Android and iOS SDKs"),
    _code(10, "A permission is missing: not granted, or taken back; also a right on a Page.",
          "Ask for the permission again; the app may need it approved in review, too.", _HANDLING),
    _code((11, 16), "A method is gone (11), a version is wrong (12), a session secret may not be used (15).",
          _OLD_REST, _REST),
    _code(17, "This user has made too many calls through the app.", _BACK_OFF, _RATES),
    _code(17, "Too many calls about one ad account.", _BACK_OFF, _RATES, subcode=2446079),
    _code(32, "Too many calls about one Page.", _BACK_OFF, _RATES),
    _code(100, "A parameter is wrong or missing: also appsecret_proof, or a login code that is used up.",
          "Mend the call. A login does not help, whatever type the error has.", "Graph API reference pages"),
    _code(100, "The inspected token belongs to another app.", "The client signs in through another app's id.",
          _DEBUG_TOKEN, message="did not match the Viewing App"),
    _code(100, "The object does not exist, or the token may not see it.",
          "Look at the id first, then at the permissions.", _SEEN, subcode=33, confirmed=False),
    _code(101, "The app's id is not known, or the app could not be validated.",
          "Look at the configured app id and at the state of the app.", _REST),
    _code(102, "The session is not valid; where a subcode stands, it tells why.",
          "Read like 190, subcodes included.", _HANDLING),
    _code(103, "The call number did not grow.", _OLD_REST, _REST),
    _code(104, "The signature of the call is wrong.",
          f"{_OLD_REST} Most often the secret is wrong.", _REST),
    _code(110, "The user id is wrong.", "Ids of people belong to one app: look where this one is from.",
          _REST),
    _code(190, "The token is not valid; where a subcode stands, it tells why, else the message does.",
          _NEW_LOGIN, _HANDLING),
    _code(191, "The return address of the login does not fit the app.",
          "Compare redirect_uri with the addresses in the app's settings, to the letter.", _SEEN,
          confirmed=False),
    _code((200, 299), "A permission is missing.",
          "Ask for it again; which one stands in the message.", _HANDLING),
    _code(326, "The account is locked for a while.", "Only the person can unlock it, on facebook.com.",
          _SEEN, confirmed=False),
    _code(341, "The app has reached a limit for this action.", _BACK_OFF, _HANDLING),
    _code(368, "Facebook blocks the action as abuse, or against its rules.",
          "Stop this action; every retry makes the block longer.", _HANDLING),
    _code(368, "The person has to confirm their identity before the action is allowed.",
          "Only the person can do it, on facebook.com.", _SEEN, subcode=4854002, confirmed=False),
    _code(412, "The person does not have the app.", "Log in and ask for consent.", "Android SDK"),
    _code((450, 455), "A session of the REST API is over (450), missing (453) or of the wrong kind.",
          _OLD_REST, _REST),
    _code(506, "The same post was made a moment ago.", "Change its content.", _HANDLING),
    _code(613, "A limit of this one call is reached.", _BACK_OFF, _RATES),
    _code(803, "One of the ids does not exist.", "Look at the ids.", _SEEN, confirmed=False),
    _code(960, "One call of a batch was not served.", _RETRY, _SEEN, confirmed=False),
    _code(2500, "Graph cannot read the path or the fields.", "Mend the call.", "Graph API reference pages"),
    _code(2500, "The call asks about the current user and carries no token.",
          "Send the token with the call: GraphAuth does.", "Graph API reference pages",
          message="An active access token"),
    _code((80000, 80014), "A limit of a business use case is reached.",
          f"{_BACK_OFF} X-Business-Use-Case-Usage tells the minutes.", _RATES),
    *(
        _code(code, f"Too many calls: {subject}.",
              f"{_BACK_OFF} X-Business-Use-Case-Usage tells the minutes.", source,
              confirmed=source == _RATES)
        for code, subject, source in (
            (80000, "ads insights", _RATES),
            (80001, "a Page", _RATES),
            (80002, "an Instagram account", _RATES),
            (80003, "custom audiences", _SEEN),
            (80004, "managing ads", _RATES),
            (80005, "lead ads", _SEEN),
            (80006, "Messenger", _RATES),
            (80008, "managing WhatsApp Business", _SEEN),
            (80009, "managing a catalogue", _SEEN),
            (80014, "a catalogue, in batches", _SEEN),
        )
    ),
    _code(1609005, "Facebook could not read the page behind a link.",
          "Look whether the address is public and answers.", _HANDLING),
    _session(452, "The token belongs to another session than the stored one; often the password was changed.",
             _NEW_LOGIN, "iOS SDK, an old branch"),
    _session(456, "The session is malformed.", _NEW_LOGIN, _HOW_TO),
    _session(457, "The session comes from a place it may not come from.", _NEW_LOGIN, _HOW_TO),
    _session(458, "The person removed the app, or never allowed it.",
             "Start from the first login: all permissions are gone.", _HANDLING),
    _session(459, "Facebook holds the account until the person has passed a check.",
             "Only the person can do it, on facebook.com; then a new login.", _HANDLING),
    _session(460, "The password was changed, or Facebook reset the session; also sent after a log-out.",
             _NEW_LOGIN, f"{_HANDLING}; Debugging access tokens"),
    _session(461, "The app was installed anew.", _NEW_LOGIN, _HOW_TO),
    _session(462, "The session has an old version.", _NEW_LOGIN, _HOW_TO),
    _session(463, "The token's time is over.",
             "Only a new login helps; an expired token cannot be exchanged.", _HANDLING),
    _session(464, "The account is not confirmed.",
             "Only the person can do it, on facebook.com; then a new login.", _HANDLING),
    _session(465, "The user of the session is not valid.", _NEW_LOGIN, _HOW_TO),
    _session(466, "The session was ended by an API call.",
             f"{_NEW_LOGIN} Its permissions read as empty.", f"{_HOW_TO}; recorded replies"),
    _session(467, "The token is not valid; older pages say that the person logged out.",
             _NEW_LOGIN, _HANDLING),
    _session(468, "The session was not used for a long time.", _NEW_LOGIN, _HOW_TO),
    _session(490, "A check of the account blocks everything until the person has passed it.",
             "Only the person can do it, on facebook.com; then a new login.", _SEEN, confirmed=False),
    _session(492, "The owner of a Page's token has lost the role on the Page.",
             "A new token fails in the same way: an admin of the Page has to give the role back.", _HANDLING),
    _session(493, "The app has become inactive for this person.",
             "Keep the user, and ask for consent again.", "Android and iOS SDKs"),
)  # fmt: skip
