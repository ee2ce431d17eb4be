"""The console that commands print on, and how much it can show."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.text import Text

_PIPED_WIDTH: Final = 120  # columns, where there is neither a terminal nor COLUMNS


@dataclass(frozen=True, slots=True)
class Signs:
    """The few characters that not every output can write."""

    good: str
    bad: str
    arrow: str
    none: str
    ellipsis: str


_UNICODE: Final = Signs(good="✓", bad="✗", arrow="→", none="–", ellipsis="…")  # noqa: RUF001 - a dash is meant
_ASCII: Final = Signs(good="+", bad="X", arrow=">", none="-", ellipsis="...")


class Terminal:
    """Prints lines that are never wrapped or reinterpreted: what is too long was cut on purpose.

    Colours appear on terminals only. Without a terminal the width is that of ``COLUMNS``, else 120,
    so that a row stays one line for ``grep``.
    """

    def __init__(self) -> None:
        attached = "COLUMNS" in os.environ or any(os.isatty(stream) for stream in (0, 1, 2))
        self._console = Console(width=None if attached else _PIPED_WIDTH, highlight=False)
        self.width = self._console.width
        self.signs = _UNICODE if self._console.encoding.lower().startswith("utf") else _ASCII

    def line(self, *parts: str | tuple[str, str]) -> None:
        """Print one line; a part is a text, or a text and its style."""
        text = Text.assemble(*parts)
        text.rstrip()
        self._console.print(text, soft_wrap=True)

    def paragraph(self, text: str, style: str = "", *, indent: int = 2) -> None:
        """Print a text folded to the width: every line indented, those that continue one a bit more."""
        own = " " * (indent + len(text) - len(text.lstrip()))
        for line in textwrap.wrap(
            text.strip(),
            max(self.width, len(own) + 20),
            initial_indent=own,
            subsequent_indent=f"{own}    ",
            break_on_hyphens=False,
        ):
            self.line((line, style))

    def fit(self, text: str, width: int) -> str:
        """Return the text in exactly ``width`` columns: padded, or cut with an ellipsis."""
        if len(text) <= width:
            return text.ljust(width)
        return text[: max(width - len(self.signs.ellipsis), 0)] + self.signs.ellipsis
