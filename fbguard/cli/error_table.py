"""The tables of docs/errors.md, in Markdown: made of the same rows as every answer of ``fbguard explain``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from fbguard.core.messages import DEFAULT_LANGUAGE, message
from fbguard.core.reasons import LIMITED_SCOPES, MESSAGE_REASONS, REASONS, Reason
from fbguard.facebook.codes import ROWS, SESSION_CODES, Row

_REACTIONS: Final = {
    ("login", None): "log in again",
    ("login", "reauthorize"): "log in again with `auth_type=reauthorize`, which renews consent",
    ("login", "reauthenticate"): "log in again with `auth_type=reauthenticate`, which asks for the password",
    ("login", "rerequest"): "ask for `relogin.scopes` with `auth_type=rerequest`; keep the session",
    ("visit_facebook", None): "send the person to facebook.com, then log in again",
    ("wait", None): "keep the session; try again after `Retry-After`",
}
_ALSO: Final = {LIMITED_SCOPES.name: (LIMITED_SCOPES,)}  # rows of a reason that has two
_NO_LOGIN_HELPS: Final = "show the message; no login helps"
_MEND: Final = "mend the request"
_BAD_REQUEST: Final = 400


def reaction(reason: Reason) -> str:
    """Return what a client should do about a reason, in Markdown."""
    if reason.status == _BAD_REQUEST:
        return _MEND
    return _REACTIONS.get((reason.action, reason.auth_type), _NO_LOGIN_HELPS)


def markdown() -> str:
    """Return all tables, with a heading each."""
    parts = (
        ("### Codes and subcodes", _codes()),
        ("### 102 or 190 without a subcode", _messages()),
        ("### Reasons", _reasons()),
    )
    return "\n\n".join(f"{heading}\n\n{chr(10).join(rows)}" for heading, rows in parts)


def _codes() -> Iterator[str]:
    yield from _head("code", "subcode", "what happened", "in the look-up", "in a view's call", "source")
    for row in sorted(ROWS, key=_order):
        yield _line(
            " or ".join(str(code) for code in sorted(SESSION_CODES)) if _is_session(row) else row.codes,
            "" if row.subcode is None else str(row.subcode),
            f"{row.meaning} (“{row.message}”)" if row.message else row.meaning,
            f"`{row.in_look_up}`",
            f"`{row.in_call}`" if row.in_call else "the application's",
            source(row),
        )


def _is_session(row: Row) -> bool:
    return row.subcode is not None and row.first in SESSION_CODES


def _order(row: Row) -> tuple[int, int, int]:
    return row.first, -row.last, row.subcode or 0


def source(row: Row) -> str:
    """Return where a row is from, and whether Facebook itself says it."""
    return row.source if row.confirmed else f"{row.source}; unconfirmed"


def _messages() -> Iterator[str]:
    yield from _head("the message says", "reason")
    for parts, reason in MESSAGE_REASONS:
        yield _line(" … ".join(f"“{part}”" for part in parts), f"`{reason}`")
    yield _line("anything else", "`invalid_token`")


def _reasons() -> Iterator[str]:
    yield from _head("reason", "status", "`relogin.action`", "what the client does", "what the person reads")
    rows = [row for reason in REASONS.values() for row in (reason, *_ALSO.get(reason.name, ()))]
    for reason in rows:
        yield _line(
            f"`{reason.name}`",
            str(reason.status),
            f"`{reason.action}`",
            reaction(reason),
            message(reason.name, DEFAULT_LANGUAGE),
        )


def _head(*titles: str) -> Iterable[str]:
    return _line(*titles), "|" + "---|" * len(titles)


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
