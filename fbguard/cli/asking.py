"""Where commands get a token and the app's secret from; neither ever stands in a variable in the clear."""

from __future__ import annotations

import os
import sys
from typing import Final

import typer

from fbguard.core.secret import Secret

_SECRET_VARIABLE: Final = "FBGUARD_APP_SECRET"  # noqa: S105 - a name
_STDIN: Final = "-"
_MAX_INPUT: Final = 65_536  # bytes; no token has as many


class WrongUse(Exception):  # noqa: N818 - of the command, by its user
    """What a command needs is missing or cannot be; the text tells what, and repeats no value."""


def token(given: Secret | None) -> Secret:
    """Return the token that was given, else standard input if it is no terminal, else ask for it.

    ``-`` is as good as none given. Raises WrongUse if there is none.
    """
    if given is not None and given != Secret(_STDIN):
        return Secret(given.reveal().strip())
    if _is_terminal():
        return _ask("Access token")
    piped = Secret("" if sys.stdin is None else _all_of_stdin())
    if not piped.reveal():
        raise WrongUse("no token: give it on standard input, in FBGUARD_TOKEN, or type it at the prompt")
    return piped


def app_id(given: str | None) -> str:
    """Return the app's id that was given; raises WrongUse if none was."""
    if given is None:
        raise WrongUse("the app's id is needed: --app-id or FBGUARD_APP_ID")
    return given


def app_secret() -> Secret | None:
    """Ask for the app's secret if the environment has none; None: it is in the environment.

    Raises WrongUse if nobody is there to ask.
    """
    if os.environ.get(_SECRET_VARIABLE):
        return None
    if not _is_terminal():
        raise WrongUse(f"{_SECRET_VARIABLE} is not set")
    return _ask("App secret")


def signing_secret() -> Secret:
    """Return the app's secret that signs: of several in the environment, while they are rotated, the first.

    Raises WrongUse if there is none.
    """
    return app_secret() or Secret(os.environ[_SECRET_VARIABLE].partition(",")[0])


def agreed(what: str) -> bool:
    """Ask whether something is to happen, the sentence of which is ``what``; no by default.

    Where nobody sits at the terminal, or reads it, it was agreed to by whoever wrote the script.
    """
    if not _is_terminal() or sys.stderr is None or not sys.stderr.isatty():
        return True
    try:
        return typer.confirm(f"{what} Go on?", err=True)
    except typer.Abort:
        typer.echo(err=True)  # the terminal is in the middle of its line
        return False


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _all_of_stdin() -> str:
    return sys.stdin.buffer.read(_MAX_INPUT).decode("utf-8", "replace").strip()


def _ask(what: str) -> Secret:
    try:
        return Secret(typer.prompt(what, hide_input=True, err=True).strip())
    except typer.Abort:
        raise WrongUse("nothing was typed") from None
