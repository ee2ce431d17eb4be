"""``fbguard routes``: every route of an app, and what guards it."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from fbguard.cli.asking import WrongUse
from fbguard.cli.coverage.apps import views_of
from fbguard.cli.coverage.judging import Judged, Verdict, judged
from fbguard.cli.coverage.rules import notes_of
from fbguard.cli.coverage.views import VERBS
from fbguard.cli.sheet import Sheet
from fbguard.cli.terminal import Terminal
from fbguard.core.requirement import Requirement
from fbguard.core.rule import Rule

_GAP: Final = "  "
_VERDICT: Final = 9  # columns
_MOST_VERBS: Final = 14  # columns of verbs where not all have room
_ASKED: Final = 28  # columns of what is asked there, at least
_LEAST_PATH: Final = 16
_STYLES: Final[Mapping[Verdict, str]] = {
    "guarded": "green",
    "optional": "cyan",
    "public": "",
    "open": "bold red",
}


def run(target: str, *, public: Sequence[str], fail_on_open: bool, as_json: bool) -> int:
    """Print what guards each route of ``MODULE:APP``; returns the exit code.

    ``public`` are path templates of what is meant to be open. 1 if a route is open and ``fail_on_open``.
    Raises :class:`fbguard.cli.asking.WrongUse`.
    """
    try:
        meant = [Rule(path, public=True) for path in public]
    except ValueError as error:
        raise WrongUse(f"--public: {error}") from None
    app = _loaded(target)
    try:
        views = list(views_of(app))
        found = [one for view in views for one in judged(view, meant)]
    except Exception as error:  # noqa: BLE001 - of an app's own code, or of one that was built otherwise
        raise WrongUse(f"{target} cannot be read: {type(error).__name__}: {error}") from None
    if as_json:
        sys.stdout.write(f"{json.dumps([_as_json(one) for one in found], indent=2)}\n")
    else:
        _print(found, list(notes_of(views)), Terminal())
    return int(fail_on_open and any(one.is_open for one in found))


def _loaded(target: str) -> object:
    """Import an app as servers do: ``module:app``, or ``module:create_app()``."""
    module_name, _, path = target.partition(":")
    path = path or "app"
    is_factory = path.endswith("()")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
        for name in path.removesuffix("()").split("."):
            found = getattr(found, name)
        found = found() if is_factory else found
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the app's own code raises
        if isinstance(error, ImportError | TypeError) and (dotted := _dotted(module_name)):
            raise WrongUse(f"MODULE is a dotted name, not a path: {dotted}:{path}") from None
        raise WrongUse(f"{target} cannot be loaded: {type(error).__name__}: {error}") from None
    if inspect.isawaitable(found) or not callable(found):
        if inspect.iscoroutine(found):
            found.close()
        raise WrongUse(f"{target} is no app, but {type(found).__name__}")
    return found


def _dotted(path: str) -> str | None:
    """Return the module of a file, None for what is no path; from here, where modules are looked for."""
    if os.sep not in path and "/" not in path and not path.endswith(".py"):
        return None
    here = os.path.relpath(path).removesuffix(".py").replace(os.sep, ".").replace("/", ".")
    return here.removesuffix(".__init__") if not here.startswith(".") else "package.module"


# -- for people --------------------------------------------------------------------------------------------


def _print(found: Sequence[Judged], notes: Sequence[str], terminal: Terminal) -> None:
    rows = [row for one in found for row in _rows(one)]
    widths = _widths(rows, terminal.width)
    for row in rows:
        for number, cells in enumerate(_lines(row, widths, terminal.width)):
            verdict = "" if number else row.verdict
            terminal.line((f"{verdict:<{_VERDICT}}", _STYLES[row.verdict]), cells)
    sheet = Sheet(terminal)
    sheet.gap()
    sheet.headline("", _summary(found), "")
    for note in notes:
        sheet.row("Note", note)


class _Row(NamedTuple):
    """A row of the table, as words."""

    verdict: Verdict
    verbs: str
    path: str
    asked: str


def _rows(one: Judged) -> Iterator[_Row]:
    yield _Row(one.verdict, _verbs(one), one.view.shown, _asked(one))
    for exception, verdict in one.except_at:
        yield _Row(verdict, "", f"only at {exception}", "")


def _widths(rows: Sequence[_Row], width: int) -> tuple[int, int]:
    """Return the columns of verbs and paths: as wide as they need, where what is asked then has its own."""
    verbs, path, asked = (max((len(row[column]) for row in rows), default=0) for column in (1, 2, 3))
    if _VERDICT + verbs + path + asked + 2 * len(_GAP) <= width:
        return verbs, path
    verbs = min(verbs, _MOST_VERBS)
    return verbs, min(path, max(width - _VERDICT - verbs - 2 * len(_GAP) - _ASKED, _LEAST_PATH))


def _lines(row: _Row, widths: tuple[int, int], width: int) -> Iterator[str]:
    """Give the lines of a row: nothing is cut, and a path that is too long has lines of its own."""
    for_verbs, for_path = widths
    before = _VERDICT + for_verbs + len(_GAP)
    verbs = [row.verbs]
    if len(row.verbs) > for_verbs:
        folded = textwrap.wrap(row.verbs.replace(",", ", "), for_verbs + 1)  # of which one space goes again
        verbs = [line.replace(", ", ",") for line in folded]
    room = max(width - before - for_path - len(_GAP), _LEAST_PATH)
    asked = textwrap.wrap(row.asked, room, break_on_hyphens=False)
    if len(row.path) <= for_path:
        paths = [row.path]
    else:
        room = max(width - before, _LEAST_PATH)
        paths = [row.path[start : start + room] for start in range(0, len(row.path), room)]
        asked = [""] * len(paths) + asked
    for verb, path, words in zip_longest(verbs, paths, asked, fillvalue=""):
        yield f"{verb:<{for_verbs}}{_GAP}{path:<{for_path}}{_GAP}{words}".rstrip()


def _verbs(one: Judged) -> str:
    is_any = one.view.methods is None and set(VERBS) <= {*one.methods, "HEAD"}
    return "any" if is_any else ",".join(one.methods)


def _asked(one: Judged) -> str:
    if one.verdict == "open":
        return one.view.name
    inside = [f"inside {wrapper}" for wrapper in one.wrappers]
    return "; ".join([*map(_described, one.asks), *inside, *one.remarks])


def _described(asked: Requirement) -> str:
    """Return a requirement in few words."""
    parts = [", ".join(asked.scopes)] if asked.scopes else []
    if asked.any_scope:
        parts.append(f"one of {', '.join(asked.any_scope)}")
    if asked.target is not None:
        parts.append(f"for {asked.target}" if isinstance(asked.target, str) else "for a target")
    if asked.token_types != ("USER",):
        parts.append("/".join(asked.token_types))
    seconds = [("fact", asked.max_fact_age), ("login", asked.max_login_age)]
    parts += [f"{what} of {age:g} s at most" for what, age in seconds if age is not None]
    if asked.min_remaining:
        parts.append(f"{asked.min_remaining:g} s left")
    if asked.live:
        parts.append("live")
    return " ".join(parts) or "a token"


def _summary(found: Sequence[Judged]) -> str:
    counted = Counter(one.verdict for one in found)
    parts = [f"{counted[name]} {name}" for name in _STYLES if counted[name]]
    return ", ".join(parts) or "There are no routes."


# -- for programs ------------------------------------------------------------------------------------------


def _as_json(one: Judged) -> dict[str, object]:
    return {
        "path": one.view.shown,
        "methods": list(one.methods),
        "verdict": one.verdict,
        "requirements": [
            {
                "scopes": list(asked.scopes),
                "any_scope": list(asked.any_scope),
                "target": asked.target if isinstance(asked.target, str | None) else "(a callable)",
                "token_types": list(asked.token_types),
                "optional": asked.optional,
                "max_fact_age": asked.max_fact_age,
                "max_login_age": asked.max_login_age,
                "min_remaining": asked.min_remaining,
                "stale_if_error": asked.stale_if_error,
                "live": asked.live,
            }
            for asked in one.asks
        ],
        "wrappers": list(one.wrappers),
        "except_at": dict(one.except_at),
        "view": one.view.name,
        "remarks": list(one.remarks),
    }
