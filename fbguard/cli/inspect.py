"""``fbguard inspect``: what Facebook says about a token, and what a guard makes of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from fbguard.cli import asking, moments
from fbguard.cli.guards import address_for, need_for, one_off_guard
from fbguard.cli.report import Report, Targets
from fbguard.cli.sheet import Sheet
from fbguard.cli.terminal import Terminal
from fbguard.core.credentials import is_id_token
from fbguard.core.errors import Refused
from fbguard.core.secret import Secret
from fbguard.guard import Guard

_NOT_SAID: Final = "not said"
_NEVER_OR_NOT_SAID: Final = "never, or not said"
_TARGETS: Final = "Targets"
_HANG: Final = 2
_EXIT_CODE: Final = {True: 0, False: 1, None: 3}


def run(
    given: Secret | None,
    *,
    app_id: str | None,
    graph_url: str | None,
    graph_version: str | None,
    as_json: bool,
) -> int:
    """Inspect a token, the given one or one that is read or asked for; returns the exit code.

    Options that are None have the guard's defaults. Raises :class:`fbguard.cli.asking.WrongUse` for
    options that are wrong or missing.
    """
    app_id = asking.app_id(app_id)
    token = asking.token(given)
    with one_off_guard(
        id_tokens=is_id_token(token), app_id=app_id, graph_url=graph_url, graph_version=graph_version
    ) as guard:
        report = _inspect(guard, token)
    if as_json:
        sys.stdout.write(f"{json.dumps(report.as_json(), indent=2)}\n")
    else:
        _print(report, Terminal())
    return _EXIT_CODE[report.valid]


def _inspect(guard: Guard, token: Secret) -> Report:
    refused: Refused | None = None
    try:
        guard.check(token.reveal(), need_for(token))
    except Refused as refusal:
        refused = refusal
    return Report(
        info=guard.peek(token.reveal()),
        refused=refused,
        app_id=guard.app_id,
        asked=address_for(guard, token),
        now=guard.now(),
    )


def _print(report: Report, terminal: Terminal) -> None:
    sheet = Sheet(terminal)
    signs = terminal.signs
    mark, style = {True: (signs.good, "green"), False: (signs.bad, "red"), None: ("?", "magenta")}[
        report.valid
    ]
    sheet.headline(mark, _verdict(report), style)
    for rows in filter(None, (list(_facts(report)), list(_refusal(report)))):
        sheet.gap()
        for name, value in rows:
            sheet.row(name, value, hang=_HANG if name in {_TARGETS, ""} else 0)


def _verdict(report: Report) -> str:
    refused = report.refused
    if report.valid:
        return f"Valid for app {report.app_id}"
    if refused is None:
        return ""
    found = f"{refused.reason} ({refused.status})"
    return f"Not valid: {found}" if report.valid is False else f"Nobody can tell: {found}"


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    info = report.info
    if info is not None and report.reads:
        yield "App", _app(report)
        yield "User", info.user_id or _NOT_SAID
        if info.profile_id:
            yield "Profile", info.profile_id
        yield "Type", info.type or _NOT_SAID
        yield "Valid", "yes" if info.is_valid else "no"
        yield "Issued", _when(info.issued_at, report.now) or _NOT_SAID
        yield "Expires", _when(info.expires_at, report.now) or report.expires() or _NOT_SAID
        yield "Data access", _when(info.data_access_expires_at, report.now) or _NEVER_OR_NOT_SAID
        yield from _scopes(report)
    elif info is not None:
        yield "App", _app(report)
    if info is not None and info.fingerprint:
        yield "Fingerprint", info.fingerprint


def _app(report: Report) -> str:
    name = report.info.application if report.info else ""
    whose = {True: "this app", False: "another app", None: _NOT_SAID}[report.is_this_app]
    owner = f"id {report.owner}, {whose}" if report.owner else whose
    return f"{name} ({owner})" if name else owner


def _when(moment: datetime | None, now: float) -> str | None:
    return f"{moments.date(moment)}, {moments.distance(moment, now)}" if moment else None


def _scopes(report: Report) -> Iterator[tuple[str, str]]:
    scopes = sorted(report.info.scopes) if report.info else []
    yield "Scopes", ", ".join(scopes) or "none"
    name = _TARGETS
    for scope, targets in (report.targets or {}).items():
        yield name, f"{scope}: {_targets(targets)}"
        name = ""


def _targets(targets: Targets | None) -> str:
    if targets is None:
        return "none (not listed)"
    return targets if isinstance(targets, str) else ", ".join(targets) or "none"


def _refusal(report: Report) -> Iterator[tuple[str, str]]:
    refused = report.refused
    if refused is not None:
        if refused.code is not None:
            yield (
                "Error",
                str(refused.code) if refused.subcode is None else f"{refused.code}/{refused.subcode}",
            )
        yield "Reason", refused.reason
        yield "Status", str(refused.status)
        if not report.valid:
            yield "What to do", refused.relogin.message
    name = "Note"
    for note in report.notes():
        yield name, note
        name = ""
    if report.more:
        yield "More", report.more
