"""A page of facts on the terminal: a headline, sections, and rows of a name and its value."""

from __future__ import annotations

import sys
import textwrap
from typing import Final

from fbguard.cli.terminal import Terminal

_INDENT: Final = 2
_NAME: Final = 13  # columns of a name, with the gap behind it
_NARROWEST: Final = 20  # columns that a value gets, whatever the terminal says


class Sheet:
    """Prints facts; long values are folded below themselves. What cannot be printed becomes ``?``.

    Names of apps and scopes come from outside: no control character of theirs reaches the terminal.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._encoding = getattr(sys.stdout, "encoding", None) or "utf-8"

    def headline(self, mark: str, text: str, style: str) -> None:
        """Print the one line that says it all."""
        start = f"{mark} " if mark else ""
        for number, line in enumerate(self._folded(text, len(start))):
            self._terminal.line(((" " * len(start) if number else start) + line, f"bold {style}".strip()))

    def section(self, title: str) -> None:
        """Begin a group of rows."""
        self._terminal.line()
        for line in self._folded(title, 0):
            self._terminal.line((line, "bold"))

    def gap(self) -> None:
        """Leave a line free."""
        self._terminal.line()

    def row(self, name: str, value: str, *, hang: int = 0) -> None:
        """Print a fact; without a name it belongs to the row above. ``hang`` indents folded lines."""
        for number, line in enumerate(self._folded(value, _INDENT + _NAME, hang)):
            shown = "" if number else name
            self._terminal.line((" " * _INDENT + shown.ljust(_NAME), "dim"), line)

    def marked(self, mark: str, style: str, name: str, value: str) -> None:
        """Print a row with a mark in front of it."""
        for number, line in enumerate(self._folded(value, _INDENT + _NAME)):
            shown = "" if number else name
            sign = " " * len(mark) if number else mark
            self._terminal.line((f"{sign} ", style), (shown.ljust(_NAME), "dim"), line)

    def _folded(self, text: str, used: int, hang: int = 0) -> list[str]:
        width = max(self._terminal.width - used, _NARROWEST)
        return textwrap.wrap(
            self._printable(text), width, subsequent_indent=" " * hang, break_on_hyphens=False
        ) or [""]

    def _printable(self, text: str) -> str:
        shown = "".join(letter if letter.isprintable() else "?" for letter in text)
        return shown.encode(self._encoding, "replace").decode(self._encoding)
