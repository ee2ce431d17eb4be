"""``fbguard explain``: what an error of Graph's, or a reason of the guard's, means and what helps."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Final

from fbguard.cli.asking import WrongUse
from fbguard.cli.error_table import markdown, source
from fbguard.cli.sheet import Sheet
from fbguard.cli.terminal import Terminal
from fbguard.core.errors import OAuthException
from fbguard.core.messages import DEFAULT_LANGUAGE, message
from fbguard.core.reasons import LIMITED_SCOPES, MESSAGE_REASONS, REASONS
from fbguard.facebook.codes import ROWS, TOKEN_CODE, Row, look_up, owners_of, reason_in_look_up

_NUMBERS: Final = re.compile(r"([0-9]{1,10})(?:[/ ]([0-9]{1,10}))?", re.ASCII)
_OWN_MATTER: Final = "none: the OAuthException is the application's own"
_LOOK_UP: Final = "In the guard's look-up (debug_token's data.error)"
_CALL: Final = "In a Graph call of a view"
_BOTH: Final = "In the guard's look-up, and in a Graph call of a view"
_ANY_OTHER: Final = reason_in_look_up(0, None)


def run(what: str | None, subcode: int | None, *, everything: bool, as_json: bool) -> int:
    """Explain a code, a reason or everything; returns the exit code, 1 for what is not known.

    Raises WrongUse for what is neither a number nor a reason.
    """
    if everything:
        if what is not None:
            raise WrongUse("--all goes with no code")
        _write_json(_all_as_json()) if as_json else sys.stdout.write(f"{markdown()}\n")
        return 0
    if what is None:
        raise WrongUse("a code or a reason is needed, or --all")
    what = what.strip()
    numbers = _NUMBERS.fullmatch(what)
    if numbers is None:
        return _explain_reason(what.lower(), subcode, as_json=as_json)
    if numbers[2] and subcode is not None:
        raise WrongUse("one subcode only")
    return _explain_code(int(numbers[1]), int(numbers[2]) if numbers[2] else subcode, as_json=as_json)


# -- codes ---------------------------------------------------------------------------------------------


def _explain_code(code: int, subcode: int | None, *, as_json: bool) -> int:
    rows = look_up(code, subcode)
    if as_json:
        _write_json(_code_as_json(code, subcode, rows))
    else:
        sheet = Sheet(Terminal())
        if not rows:
            _print_unknown(sheet, code, subcode)
        for number, row in enumerate(rows or look_up(code)):
            if number or not rows:
                sheet.gap()
            _print_row(sheet, row)
        if owners := owners_of(code) if subcode is None else ():
            also = "also " if rows else ""
            sheet.section(f"{code} is {also}a subcode of {owners[0]}: fbguard explain {owners[0]} {code}")
    return 0 if rows else 1


def _print_row(sheet: Sheet, row: Row) -> None:
    sheet.headline("", f"{_number(row)}: {row.meaning}", "")
    sheet.gap()
    if row.message:
        sheet.row("Known by", f"{row.message!r} in the message")
    sheet.row("For you", row.advice)
    sheet.row("Source", source(row))
    _print_places(sheet, row.in_look_up, row.in_call)
    if row.first == row.last == TOKEN_CODE and row.subcode is None:
        sheet.section("Without a subcode the message decides")
        for parts, reason in MESSAGE_REASONS:
            sheet.row("", f"{' ... '.join(parts)}: {reason}")


def _print_places(sheet: Sheet, in_look_up: str, in_call: str | None) -> None:
    if in_look_up == in_call:
        sheet.section(_BOTH)
        _print_reason(sheet, in_look_up)
        return
    sheet.section(_LOOK_UP)
    _print_reason(sheet, in_look_up)
    sheet.section(_CALL)
    if in_call is None:
        sheet.row("Reason", _OWN_MATTER)
    else:
        _print_reason(sheet, in_call)


def _print_unknown(sheet: Sheet, code: int, subcode: int | None) -> None:
    if subcode is None or not look_up(code):
        sheet.headline("", f"{code} is no code in fbguard's table.", "yellow")
        in_call = OAuthException("", code=code, subcode=subcode).reason
        _print_places(sheet, reason_in_look_up(code, subcode), in_call)
    else:
        sheet.headline("", f"{subcode} is no subcode of {code} in fbguard's table. The code alone:", "yellow")


def _code_as_json(code: int, subcode: int | None, rows: tuple[Row, ...]) -> dict[str, object]:
    return {
        "code": code,
        "subcode": subcode,
        "known": bool(rows),
        "look_up": _reason_as_json(reason_in_look_up(code, subcode)),
        "call": _reason_as_json(OAuthException("", code=code, subcode=subcode).reason),
        "meanings": [_row_as_json(row) for row in rows],
    }


def _row_as_json(row: Row) -> dict[str, object]:
    return {
        "first": row.first,
        "last": row.last,
        "subcode": row.subcode,
        "message": row.message or None,
        "meaning": row.meaning,
        "advice": row.advice,
        "source": row.source,
        "confirmed": row.confirmed,
        "look_up": _reason_as_json(row.in_look_up),
        "call": _reason_as_json(row.in_call),
    }


# -- reasons -------------------------------------------------------------------------------------------


def _explain_reason(name: str, subcode: int | None, *, as_json: bool) -> int:
    if name not in REASONS:
        raise WrongUse(f"neither a code nor a reason; the reasons are {', '.join(sorted(REASONS))}")
    if subcode is not None:
        raise WrongUse("a reason has no subcode")
    if as_json:
        _write_json({**_known_reason(name), "codes": [_row_as_json(row) for row in _leading_to(name)]})
        return 0
    sheet = Sheet(Terminal())
    sheet.headline("", f"{name}: {REASONS[name].title}", "")
    sheet.gap()
    _print_reason(sheet, name)
    sheet.row("For you", REASONS[name].detail)
    if name == LIMITED_SCOPES.name:
        sheet.row("Or", f'{LIMITED_SCOPES.status}, error="{LIMITED_SCOPES.error}": {LIMITED_SCOPES.detail}')
    _print_origins(sheet, name)
    return 0


def _print_origins(sheet: Sheet, name: str) -> None:
    rows = _leading_to(name)
    messages = [" ... ".join(parts) for parts, reason in MESSAGE_REASONS if reason == name]
    if not rows and not messages:
        sheet.section("No code in the table leads here: the guard finds it out itself.")
        return
    sheet.section("Errors of Graph's that lead here")
    for row in rows:
        sheet.row(_number(row), row.meaning)
    for text in messages:
        sheet.row(str(TOKEN_CODE), f"Without a subcode, if the message says: {text}")
    if name == _ANY_OTHER:
        sheet.row("others", "Whatever else debug_token says about a token.")


def _leading_to(reason: str) -> list[Row]:
    return [row for row in ROWS if row.in_call == reason]


def _number(row: Row) -> str:
    return row.codes if row.subcode is None else f"{row.codes}/{row.subcode}"


def _print_reason(sheet: Sheet, name: str) -> None:
    reason = REASONS[name]
    sheet.row("Reason", name)
    challenge = f', error="{reason.error}"' if reason.error else ""
    sheet.row("Status", f"{reason.status}{challenge}")
    sheet.row(
        "Action", f"{reason.action}, auth_type {reason.auth_type}" if reason.auth_type else reason.action
    )
    sheet.row("The person", message(name, DEFAULT_LANGUAGE))


def _reason_as_json(name: str | None) -> Mapping[str, object] | None:
    return None if name is None else _known_reason(name)


def _known_reason(name: str) -> dict[str, object]:
    reason = REASONS[name]
    return {
        "reason": name,
        "status": reason.status,
        "error": reason.error,
        "action": reason.action,
        "auth_type": reason.auth_type,
        "title": reason.title,
        "detail": reason.detail,
        "message": message(name, DEFAULT_LANGUAGE),
    }


def _all_as_json() -> dict[str, object]:
    return {
        "codes": [_row_as_json(row) for row in ROWS],
        "messages": [{"parts": list(parts), "reason": reason} for parts, reason in MESSAGE_REASONS],
        "reasons": [_known_reason(name) for name in REASONS],
    }


def _write_json(value: object) -> None:
    sys.stdout.write(f"{json.dumps(value, indent=2)}\n")
