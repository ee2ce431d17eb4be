"""Graph's reply to ``GET /debug_token``, read strictly. Pure.

Three outcomes: a :class:`TokenInfo` (valid, or definitely not), or a :class:`Finding` that says
"don't know". Nothing is taken for granted: what is not exactly as the reference shows it is
"don't know", because a lenient reader turns garbage into identities.

``190`` inside ``data.error`` is about the caller's token; a top-level ``error`` is about *our*
credential, except ``#100 ... did not match the Viewing App``, which is another app's token.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from sys import intern
from typing import Any, Final, TypeVar, cast

from fbguard.core.reasons import Finding, classify_token_error, is_dont_know, is_other_app
from fbguard.core.token import EVERYTHING, GranularScopes, TokenError, TokenInfo
from fbguard.facebook.strict_json import Unreadable, as_object, integer, read_object

T = TypeVar("T")

RETRY_UNAVAILABLE: Final = 2  # seconds
UNAVAILABLE: Final = Finding("unavailable", retry_after=RETRY_UNAVAILABLE)
RETRY_THROTTLED: Final = 60  # seconds; Graph counts over a rolling hour

_OK = 200
_SERVER_ERROR = 500
_OF_CREDENTIALS: Final = frozenset({100, 101, 102, 104, 190})  # codes of errors that may be about ours
USER_ID: Final = re.compile(r"(?!0\Z)[0-9]{1,32}", re.ASCII)
LAST_SECOND: Final = 253_402_300_799  # the end of year 9999; milliseconds of today are beyond it


def read(status: int, body: bytes, fingerprint: str) -> TokenInfo | Finding:
    """Read debug_token's reply: HTTP status and body (at most 64 KiB) as they came.

    ``fingerprint`` goes into the TokenInfo as it is.
    """
    try:
        reply = read_object(body)
    except (Unreadable, ValueError, RecursionError):
        return UNAVAILABLE
    outcome = _read_reply(status, reply, fingerprint)
    if isinstance(outcome, Finding) and status < _SERVER_ERROR and not _is_about_graph(reply):
        return replace(outcome, is_answer=True)
    return outcome


def _read_reply(status: int, reply: dict[str, Any], fingerprint: str) -> TokenInfo | Finding:
    try:
        if "error" in reply:
            return _read_refusal(reply, fingerprint)
        if status != _OK:
            return UNAVAILABLE
        return _read_data(as_object(reply.get("data")), fingerprint)
    except (Unreadable, ValueError):  # a lone surrogate, which no header could carry
        return UNAVAILABLE


def _is_about_graph(reply: dict[str, Any]) -> bool:
    """Tell a top-level error that asks for patience: Graph throttles, or is out of order."""
    error: object = reply.get("error")
    if not isinstance(error, dict):
        return False
    fields = cast("dict[str, Any]", error)
    return is_dont_know(integer(fields.get("code")), transient=fields.get("is_transient") is True) is not None


def _read_refusal(reply: dict[str, Any], fingerprint: str) -> TokenInfo | Finding:
    """Read a top-level error: about our credential or our calls, unless it names another app."""
    error = as_object(reply["error"])
    code, subcode, message = _error_parts(error)
    if "data" in reply:
        return UNAVAILABLE
    reason = is_dont_know(code, transient=error.get("is_transient") is True)
    if reason is None and is_other_app(code, message):
        return TokenInfo(
            app_id="",
            type="",
            is_valid=False,
            error=TokenError("wrong_app", code, subcode),
            fingerprint=fingerprint,
        )
    blames_us = reason is None and code in _OF_CREDENTIALS
    return replace(_dont_know(reason, code, subcode), blames_us=blames_us)


def _dont_know(reason: str | None, code: int | None, subcode: int | None) -> Finding:
    if reason == "throttled":
        return Finding("throttled", code, subcode, retry_after=RETRY_THROTTLED)
    return Finding("unavailable", code, subcode, retry_after=UNAVAILABLE.retry_after)


def _error_parts(error: dict[str, Any]) -> tuple[int | None, int | None, str]:
    """Return code, subcode and message; ``subcode`` is the spelling in ``data``, the other elsewhere."""
    message = error.get("message")
    return (
        integer(error.get("code")),
        integer(error.get("subcode", error.get("error_subcode"))),
        message if isinstance(message, str) else "",
    )


def _read_data(data: dict[str, Any], fingerprint: str) -> TokenInfo | Finding:
    is_valid = data.get("is_valid")
    if not isinstance(is_valid, bool):
        raise Unreadable
    if "error" in data:
        return _read_dead(data, is_valid, fingerprint)
    kind = _optional_text(data, "type")
    user_id = _optional_id(data, "user_id")
    if (kind == "USER" or user_id is not None) and not USER_ID.fullmatch(user_id or ""):
        raise Unreadable
    app_id = _optional_id(data, "app_id")
    if not app_id:
        raise Unreadable
    return TokenInfo(
        app_id=intern(app_id),
        type=intern(kind),
        is_valid=is_valid,
        user_id=user_id,
        profile_id=_optional_id(data, "profile_id"),
        application=intern(_optional_text(data, "application")),
        scopes=frozenset(intern(scope) for scope in _texts(data.get("scopes"))),
        granular_scopes=_granular(data.get("granular_scopes")),
        issued=_moment(data, "issued_at"),
        expires=_moment(data, "expires_at", required=kind != "APP"),
        data_access_expires=_moment(data, "data_access_expires_at"),
        fingerprint=fingerprint,
    )


def _read_dead(data: dict[str, Any], is_valid: bool, fingerprint: str) -> TokenInfo | Finding:
    """Read ``data.error`` beside ``is_valid: false``: classified by its error, whatever is absent."""
    error = as_object(data["error"])
    code, subcode, message = _error_parts(error)
    reason = is_dont_know(code, transient=error.get("is_transient") is True)
    if is_valid or reason is not None:
        return _dont_know(reason, code, subcode)
    app_id = data.get("app_id")
    return TokenInfo(
        # A present app id of any type stays visible to the judge, who compares it exactly.
        app_id="" if app_id is None else str(app_id),
        type=_optional_text(data, "type"),
        is_valid=False,
        # For people who look at a dead token: nobody is judged by what follows.
        user_id=_salvaged(_optional_id, data, "user_id"),
        profile_id=_salvaged(_optional_id, data, "profile_id"),
        application=_salvaged(_optional_text, data, "application") or "",
        scopes=frozenset(_salvaged(_texts_of, data, "scopes") or ()),
        granular_scopes=_salvaged(_granular_of, data, "granular_scopes") or EVERYTHING,
        issued=_salvaged(_moment, data, "issued_at") or 0,
        expires=_salvaged(_moment, data, "expires_at") or 0,
        data_access_expires=_salvaged(_moment, data, "data_access_expires_at") or 0,
        error=TokenError(classify_token_error(code, subcode, message), code, subcode),
        fingerprint=fingerprint,
    )


def _salvaged(read: Callable[[dict[str, Any], str], T], data: dict[str, Any], key: str) -> T | None:
    """Read a field that may be missing or broken."""
    try:
        return read(data, key)
    except (Unreadable, ValueError):
        return None


def _texts_of(data: dict[str, Any], key: str) -> list[str]:
    return _texts(data.get(key))


def _granular_of(data: dict[str, Any], key: str) -> GranularScopes:
    return _granular(data.get(key))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Unreadable
    value.encode()  # a lone surrogate would fail in a view, much later: UnicodeEncodeError is a ValueError
    return value


def _optional_text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    return "" if value is None else _text(value)


def _optional_id(data: dict[str, Any], key: str) -> str | None:
    """Return an id as text; Graph's older samples show ids as JSON integers."""
    value = data.get(key)
    if value is None:
        return None
    number = integer(value)
    return _text(value) if number is None else str(number)


def _texts(value: object) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unreadable
    return [_text(item) for item in cast("list[object]", value)]


def _granular(value: object) -> GranularScopes:
    """Read ``granular_scopes``: a missing ``target_ids`` covers every target, an empty one none."""
    if value is None:
        return EVERYTHING
    if not isinstance(value, list):
        raise Unreadable
    targets: dict[str, tuple[str, ...] | None] = {}
    for item in cast("list[object]", value):
        entry = as_object(item)
        scope = intern(_text(entry.get("scope")))
        if scope in targets:
            raise Unreadable  # two grants of one scope: nobody knows which one counts
        targets[scope] = _target_ids(entry)
    return GranularScopes(targets) if targets else EVERYTHING


def _target_ids(entry: dict[str, Any]) -> tuple[str, ...] | None:
    if "target_ids" not in entry:
        return None
    value = entry["target_ids"]
    if not isinstance(value, list):
        raise Unreadable
    ids = cast("list[object]", value)
    return tuple(_text(item) if integer(item) is None else str(item) for item in ids)


def _moment(data: dict[str, Any], key: str, *, required: bool = False) -> int:
    """Return whole seconds since the epoch; 0 is "never", or "not said" where that is allowed."""
    if data.get(key) is None:
        if required:
            raise Unreadable
        return 0
    seconds = integer(data[key])
    if seconds is None or not 0 <= seconds <= LAST_SECOND:
        raise Unreadable
    return seconds
