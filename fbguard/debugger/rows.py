"""A report about a token as names and values, for the terminal and for pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from fbguard.debugger import moments
from fbguard.debugger.report import Report, Targets

TARGETS: Final = "Targets"

_NOT_SAID: Final = "not said"
_NEVER_OR_NOT_SAID: Final = "never, or not said"


def verdict(report: Report) -> str:
    """Return the one line that says it all."""
    refused = report.refused
    if report.valid:
        return f"Valid for app {report.app_id}"
    if refused is None:
        return ""
    found = f"{refused.reason} ({refused.status})"
    return f"Not valid: {found}" if report.valid is False else f"Nobody can tell: {found}"


def facts(report: Report) -> Iterator[tuple[str, str]]:
    """Give what is known of the token; rows without a name belong to the one above."""
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
    name = TARGETS
    for scope, targets in (report.targets or {}).items():
        yield name, f"{scope}: {_targets(targets)}"
        name = ""


def _targets(targets: Targets | None) -> str:
    if targets is None:
        return "none (not listed)"
    return targets if isinstance(targets, str) else ", ".join(targets) or "none"


def refusal(report: Report) -> Iterator[tuple[str, str]]:
    """Give why a guard refuses it, what helps, and what a developer should know besides."""
    refused = report.refused
    if refused is not None:
        if refused.code is not None:
            yield (
                "Error",
                str(refused.code) if refused.subcode is None else f"{refused.code}/{refused.subcode}",
            )
        yield "Reason", refused.reason
        yield "Status", str(refused.status)
        if report.to_do:
            yield "What to do", report.to_do
    name = "Note"
    for note in report.notes():
        yield name, note
        name = ""
    if report.more:
        yield "More", report.more
