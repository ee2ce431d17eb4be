"""``fbguard inspect``: what Facebook says about a token, and what a guard makes of it."""

from __future__ import annotations

import json
import sys
from typing import Final

from fbguard.cli import asking
from fbguard.cli.guards import one_off_guard
from fbguard.cli.sheet import Sheet
from fbguard.cli.terminal import Terminal
from fbguard.core.credentials import is_id_token
from fbguard.core.errors import Refused
from fbguard.core.secret import Secret
from fbguard.debugger.report import Report, need_for, report_of
from fbguard.debugger.rows import TARGETS, facts, refusal, verdict
from fbguard.guard import Guard

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
    return report_of(guard, token, refused)


def _print(report: Report, terminal: Terminal) -> None:
    sheet = Sheet(terminal)
    signs = terminal.signs
    mark, style = {True: (signs.good, "green"), False: (signs.bad, "red"), None: ("?", "magenta")}[
        report.valid
    ]
    sheet.headline(mark, verdict(report), style)
    for rows in filter(None, (list(facts(report)), list(refusal(report)))):
        sheet.gap()
        for name, value in rows:
            sheet.row(name, value, hang=_HANG if name in {TARGETS, ""} else 0)
