"""``fbguard routes``: every route of an app, and what guards it."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fbguard.cli.asking import WrongUse
from fbguard.cli.coverage.apps import views_of
from fbguard.cli.coverage.judging import Judged, Verdict, judged
from fbguard.cli.coverage.views import VERBS
from fbguard.cli.sheet import Sheet
from fbguard.cli.terminal import Terminal
from fbguard.core.requirement import Requirement
from fbguard.core.rule import Rule

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
        found = [one for view in views_of(app) for one in judged(view, meant)]
    except Exception as error:  # noqa: BLE001 - of an app's own code, or of one that was built otherwise
        raise WrongUse(f"{target} cannot be read: {type(error).__name__}: {error}") from None
    if as_json:
        sys.stdout.write(f"{json.dumps([_as_json(one) for one in found], indent=2)}\n")
    else:
        _print(found, Terminal())
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
        raise WrongUse(f"{target} cannot be loaded: {type(error).__name__}: {error}") from None
    if inspect.isawaitable(found) or not callable(found):
        if inspect.iscoroutine(found):
            found.close()
        raise WrongUse(f"{target} is no app, but {type(found).__name__}")
    return found


# -- for people --------------------------------------------------------------------------------------------


def _print(found: Sequence[Judged], terminal: Terminal) -> None:
    sheet = Sheet(terminal)
    verbs = max((len(_verbs(one)) for one in found), default=0)
    path = max((len(one.view.shown) for one in found), default=0)
    for one in found:
        told = f"{_verbs(one):<{verbs}}  {one.view.shown:<{path}}  {_asked(one)}"
        terminal.line((f"{one.verdict:<9}", _STYLES[one.verdict]), told)
        for exception, verdict in one.except_at:
            terminal.line((f"{verdict:<9}", _STYLES[verdict]), f"{'':<{verbs}}  only at {exception}")
    sheet.gap()
    sheet.headline("", _summary(found), "")


def _verbs(one: Judged) -> str:
    is_any = one.view.methods is None and set(VERBS) <= {*one.methods, "HEAD"}
    return "any" if is_any else ",".join(one.methods)


def _asked(one: Judged) -> str:
    if one.verdict == "open":
        return one.view.name
    inside = [f"inside {wrapper}" for wrapper in one.wrappers]
    remarks = [one.view.remark] if one.view.remark else []
    return "; ".join([*map(_described, one.asks), *inside, *remarks])


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
        "remark": one.view.remark,
    }
