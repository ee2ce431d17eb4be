"""How the demo looks: one row per request, in one line where the terminal is wide enough, else in two."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from fbguard.cli.compare import Outcome, challenge_of, relogin_of
from fbguard.cli.terminal import Terminal
from fbguard.cli.walk import Answer

# Columns of the one-line row; the hint takes what is left, and needs _HINT for its longest text.
_NAME: Final = 24
_REQUEST: Final = 14
_STATUS: Final = 6
_CHALLENGE: Final = 18
_LONG_CHALLENGE: Final = 32
_CALLS: Final = 5
_HINT: Final = 40
_GAP: Final = "  "
_ONE_LINE: Final = 3 + _NAME + 2 + _REQUEST + 2 + _STATUS + 2 + _CHALLENGE + 2 + _HINT + 2 + _CALLS
_SUCCESS: Final = 300
_REFUSED: Final = 500
_SHOWN_HEADERS: Final = ("WWW-Authenticate", "Content-Type", "Cache-Control")


@dataclass(frozen=True, slots=True)
class Row:
    """An outcome as words."""

    good: bool
    name: str
    request: str
    status: str
    style: str
    challenge: str
    hint: str
    graph_calls: int
    differences: tuple[str, ...]


class DemoScreen:
    """Prints the parts of the demo on a terminal."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._signs = terminal.signs

    def heading(self, title: str, lines: Iterable[tuple[str, str, str]]) -> None:
        """Print what runs where: (name, what it is, URL)."""
        self._terminal.line((title, "bold"))
        rows = list(lines)
        wide = max(len(what) for _, what, _ in rows)
        for name, what, url in rows:
            self._terminal.line("  ", name.ljust(11), (what.ljust(wide), "dim"), _GAP, (url, "cyan"))

    def app(self, name: str, url: str) -> None:
        """Begin the part of one app."""
        self._terminal.line()
        self._terminal.line((name, "bold"), (f" {self._signs.none} {url}", "dim"))
        if self._is_wide:
            titles = self._columns("request", "status", "challenge", "hint", "Graph")
            self._terminal.line("   ", (self._fit("case", _NAME) + _GAP + titles, "dim"))

    def chapter(self, title: str) -> None:
        """Begin a chapter of the tour."""
        self._terminal.line()
        self._terminal.line(" ", (title, "bold blue"))

    def outcome(self, outcome: Outcome) -> None:
        """Print one request, and below it what is not as the design says."""
        row = self.row(outcome)
        mark = (self._signs.good, "green") if row.good else (self._signs.bad, "bold red")
        start = (" ", mark, " ", self._fit(row.name, _NAME), _GAP)
        if self._is_wide:
            status = (self._fit(row.status, _STATUS), row.style)
            before, after = self._fit(row.request, _REQUEST), self._explained(row)
            self._terminal.line(*start, before, _GAP, status, _GAP, after)
        else:
            calls = (f"Graph calls: {row.graph_calls}", "dim")
            request = self._fit(row.request, _REQUEST)
            self._terminal.line(*start, request, _GAP, (row.status, row.style), "    ", calls)
            self._second_line(row)
        for difference in row.differences:
            self._terminal.line("      ", (f"{self._signs.bad} {difference}", "red"))

    def _explained(self, row: Row) -> str:
        challenge = self._fit(row.challenge, self._challenge_width)
        hint = self._fit(row.hint, self._hint_width)
        return f"{challenge}{_GAP}{hint}{_GAP}{row.graph_calls:>{_CALLS}}"

    def _second_line(self, row: Row) -> None:
        if row.hint != self._signs.none:
            challenge = self._fit(row.challenge, _LONG_CHALLENGE)
            self._terminal.line("   ", (f"{challenge}{_GAP}{row.hint}", "dim"))

    def summary(self, counts: Sequence[tuple[str, Sequence[Outcome]]]) -> None:
        """Print how many requests were as designed, in all and by app."""
        outcomes = [outcome for _, played in counts for outcome in played]
        good = _good(outcomes)
        by_app = ", ".join(f"{name} {_good(played)} of {len(played)}" for name, played in counts)
        calls = sum(outcome.visit.graph_calls for outcome in outcomes if outcome.visit)
        style = "bold green" if good == len(outcomes) else "bold red"
        mark = self._signs.good if good == len(outcomes) else self._signs.bad
        different = len(outcomes) - good
        self._terminal.line()
        self._terminal.line(
            (f"{mark} {len(outcomes)} requests: {good} as designed, {different} different", style)
        )
        self._terminal.line("  ", (f"{by_app}; {calls} Graph calls in all", "dim"))

    def in_full(self, outcome: Outcome) -> None:
        """Print one refusal as the client gets it."""
        if outcome.visit is None:
            return
        answer = outcome.visit.answer
        self._terminal.line()
        self._terminal.line(
            ("One refusal in full", "bold"), (f" {self._signs.none} {outcome.step.name}", "dim")
        )
        self._terminal.line()
        self._terminal.line(f"  HTTP/1.1 {answer.status} {_phrase(answer.status)}")
        for name in _SHOWN_HEADERS:
            value = answer.header(name.lower())
            if value is not None:
                self._terminal.paragraph(f"{name}: {value}")
        self._terminal.line()
        for line in json.dumps(answer.json(), indent=2).splitlines():
            self._terminal.paragraph(line, "dim")

    # -- words -----------------------------------------------------------------------------------

    def row(self, outcome: Outcome) -> Row:
        """Put an outcome into words."""
        went = outcome.visit
        request = f"{outcome.step.method} {outcome.step.path}"
        if went is None:
            none = self._signs.none
            return Row(False, outcome.step.name, request, "none", "red", none, none, 0, outcome.differences)
        return Row(
            good=not outcome.differences,
            name=outcome.step.name,
            request=request,
            status=str(went.answer.status),
            style=_style(went.answer.status),
            challenge=self._challenge(went.answer),
            hint=self._hint(went.answer),
            graph_calls=went.graph_calls,
            differences=outcome.differences,
        )

    def _challenge(self, answer: Answer) -> str:
        """Return the error of the Bearer challenge, which is what clients look at."""
        challenge = challenge_of(answer)
        if challenge is None:
            return self._signs.none
        return challenge.get("error", "Bearer, no error")

    def _hint(self, answer: Answer) -> str:
        """Return the reason and the way back in: ``reason -> action, auth_type or seconds``."""
        hint = relogin_of(answer)
        if not hint:
            return self._signs.none
        words = [str(hint.get("action"))]
        if hint.get("auth_type"):
            words.append(str(hint["auth_type"]))
        if hint.get("retry_after"):
            words.append(f"{hint['retry_after']} s")
        return f"{answer.json().get('reason')} {self._signs.arrow} {', '.join(words)}"

    # -- columns ---------------------------------------------------------------------------------

    @property
    def _is_wide(self) -> bool:
        return self._terminal.width >= _ONE_LINE

    @property
    def _challenge_width(self) -> int:
        room = self._terminal.width - _ONE_LINE
        return min(_CHALLENGE + max(room, 0), _LONG_CHALLENGE)

    @property
    def _hint_width(self) -> int:
        return _HINT

    def _columns(self, request: str, status: str, challenge: str, hint: str, calls: str) -> str:
        return _GAP.join((
            self._fit(request, _REQUEST),
            self._fit(status, _STATUS),
            self._fit(challenge, self._challenge_width),
            self._fit(hint, self._hint_width),
            calls.rjust(_CALLS),
        ))  # fmt: skip

    def _fit(self, text: str, width: int) -> str:
        return self._terminal.fit(text, width)


def _good(outcomes: Sequence[Outcome]) -> int:
    return sum(not outcome.differences for outcome in outcomes)


def _style(status: int) -> str:
    if status < _SUCCESS:
        return "green"
    return "yellow" if status < _REFUSED else "magenta"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
