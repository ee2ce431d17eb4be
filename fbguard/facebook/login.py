"""Facebook Login, manual flow: the dialog's address, and the exchange of its code for a token. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from fbguard.core.credentials import is_id_token, screen
from fbguard.core.reasons import Finding, classify_token_error, is_dont_know
from fbguard.core.secret import Secret
from fbguard.facebook.debug_token import RETRY_THROTTLED, UNAVAILABLE
from fbguard.facebook.graph_error import read_error
from fbguard.facebook.strict_json import Unreadable, read_object

_OK: Final = 200
_BAD_PARAMETER: Final = 100  # what is wrong with a code, by its subcode: expired, used, of another address
_UNKNOWN_APP: Final = 101
_SESSION_CODES: Final = frozenset({102, 190})  # the person's account is held: a code is worth no more
_WRONG_SECRET: Final = "client secret"  # noqa: S105 - Graph's words; the code is 1, as for many things


def dialog_url(
    base: str,
    version: str,
    *,
    client_id: str,
    redirect_uri: str,
    scopes: Sequence[str] = (),
    auth_type: str | None = None,
    state: str | None = None,
) -> str:
    """Return ``{base}/{version}/dialog/oauth?…`` (Facebook Login, manual flow).

    Without ``state`` whoever follows it adds their own. ``auth_type`` is left out when None, ``scope`` when
    there are no scopes.
    """
    query = {"client_id": client_id, "redirect_uri": redirect_uri}
    if scopes:
        query["scope"] = ",".join(scopes)
    if auth_type is not None:
        query["auth_type"] = auth_type
    if state is not None:
        query["state"] = state
    return f"{base}/{version}/dialog/oauth?{urlencode(query)}"


def code_form(credential: Secret, redirect_uri: str, code: Secret) -> Secret:
    """Return the form that exchanges a code for a token (RFC 6749 section 4.1.3).

    ``credential`` is ``app_id|app_secret``. Sent by POST, which section 3.2 asks for: the secret and the code
    have no place in an address, though Facebook's manual shows a GET.
    """
    return Secret(
        urlencode(
            {
                "client_id": credential.reveal().partition("|")[0],
                "client_secret": credential.reveal().partition("|")[2],
                "redirect_uri": redirect_uri,
                "code": code.reveal(),
            }
        )
    )


def read_token(status: int, body: bytes) -> Secret | Finding:
    """Read the reply to :func:`code_form`: the token, or why there is none.

    A definite no is about the code; what is said about the app is ``blames_us``; else nobody knows.
    """
    try:
        reply = read_object(body)
    except (Unreadable, ValueError, RecursionError):
        return UNAVAILABLE
    error = read_error(reply, status=status)
    if error is not None:
        return _refused(error.code, error.subcode, error.message, transient=error.is_transient)
    if status != _OK or not isinstance(reply.get("access_token"), str):
        return UNAVAILABLE
    token = screen(Secret(reply["access_token"]), id_tokens=True)
    return UNAVAILABLE if isinstance(token, Finding) or is_id_token(token) else token


def _refused(code: int | None, subcode: int | None, message: str, *, transient: bool) -> Finding:
    if code == _UNKNOWN_APP or (code == 1 and _WRONG_SECRET in message.lower()):
        return Finding("unavailable", code, subcode, retry_after=UNAVAILABLE.retry_after, blames_us=True)
    reason = is_dont_know(code, transient=transient)
    if reason == "throttled":
        return Finding(reason, code, subcode, retry_after=RETRY_THROTTLED)
    if reason is None and code in _SESSION_CODES:
        return Finding(classify_token_error(code, subcode, message), code, subcode, is_answer=True)
    if reason is None and code == _BAD_PARAMETER:
        return Finding("invalid_token", code, subcode, is_answer=True)
    # Without a word of its own state, Graph is there, and this is one code's matter.
    is_answer = reason is None
    return Finding("unavailable", code, subcode, retry_after=UNAVAILABLE.retry_after, is_answer=is_answer)
